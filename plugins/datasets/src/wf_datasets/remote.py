"""Files that fsspec reaches, such as ``s3://bucket/house.csv``, read with retries and a time limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wf.errors import DataError, UsageError
from wf_storage.folders import data_dir

T = TypeVar("T")

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/(?!/)|([a-zA-Z][a-zA-Z0-9+.-]+(?:::[a-zA-Z0-9+.-]+)*)://")
TIMEOUT_SEC = 60.0
"""So long a read may take before it is tried again."""
TRIES = 5
"""So often a read is tried, with pauses of 1, 2, 4 and 8 seconds."""
_NO_USE = (IsADirectoryError, NotADirectoryError, PermissionError, NotImplementedError, ImportError)
_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
"""Errors that stay when a read is tried again, the second ones by name: botocore may not be here."""


def url_of(path: Path | str) -> str | None:
    """The URL that a path stands for, or None: ``Path("s3://bucket/x")`` has one slash only, which is put right."""
    text = str(path)
    found = _URL.match(text)
    if found is None or (found[1] and Path(text).exists()):
        return None
    if found[2]:
        return text
    rest = text[found.end() :]
    return f"{found[1]}:///{rest}" if found[1] in ("file", "local") else f"{found[1]}://{rest}"


class Place:
    """A file system of fsspec, found anew in each process, and a path on it.

    Args:
        url: What it stands at: a URL, or a path of this machine.

    Raises:
        DataError: When the package that reads such URLs is not installed.
        UsageError: When fsspec knows no such URLs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        _, self.path = self._found()

    @property
    def fs(self) -> Any:
        """The file system."""
        return self._found()[0]

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        return "local" in getattr(self.fs, "protocol", ())

    def at(self, path: str) -> str:
        """The URL of another path of the same file system."""
        return str(self.fs.unstrip_protocol(path)) if "://" in self.url else path

    def _found(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations

        protocol = self.url.partition("://")[0].rpartition("::")[2]
        try:
            fs, path = url_to_fs(self.url)
        except ImportError as error:
            hint = known_implementations.get(protocol, {}).get("err") or str(error)
            raise DataError(f"'{self.url}' needs another package: {hint}\n  pip install {_package(hint)}") from error
        except ValueError as error:
            known = ", ".join(sorted(known_implementations))
            raise UsageError(f"'{self.url}': {_line(error)}\n  known to fsspec: {known}") from error
        return fs, str(path)


def _package(hint: str) -> str:
    """The package in a hint such as 'Install s3fs to access S3'."""
    found = re.search(r"[Ii]nstall (?:the )?[\"'`]?([\w\[\]-]+)", hint)
    return found[1] if found else "the package it names"


def tried(what: str, read: Callable[[], T], tries: int = TRIES) -> T:
    """What `read` gives; tried again where the network fails.

    Raises:
        DataError: When there is nothing, when it may not be read, or when every try failed.
    """
    for number in range(1, tries + 1):
        try:
            return read()
        except DataError:
            raise
        except Exception as raised:  # each kind of storage has its own errors
            error = _reason(raised)
            if isinstance(error, FileNotFoundError):
                raise DataError(f"no file '{what}'\n  check its name, and that of the bucket or host") from raised
            if isinstance(error, _NO_USE) or type(error).__name__ in _CREDENTIALS:
                raise DataError(f"'{what}' cannot be read: {_line(error)}\n  check the credentials") from raised
            if number == tries:
                raise DataError(
                    f"'{what}' cannot be read, tried {tries} time{'' if tries == 1 else 's'}: {_line(error)}\n"
                    "  check the network and the credentials; a run that has begun goes on with wf resume"
                ) from raised
            time.sleep(2.0 ** (number - 1))
    raise AssertionError(tries)


def _reason(error: Exception) -> BaseException:
    """An error, or that of the network behind it: of a host that does not answer fsspec says that there is no file."""
    cause = error.__cause__
    hidden = isinstance(error, FileNotFoundError) and isinstance(cause, OSError)
    return cause if hidden and cause is not None else error


def ranges(place: Place, paths: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
    """Stretches of files, read side by side where the storage allows it.

    Raises:
        OSError: When a read fails, ends too early, or takes longer than `TIMEOUT_SEC`.
    """
    fs = place.fs
    if getattr(fs, "async_impl", False):
        from fsspec.asyn import sync

        found = sync(
            fs.loop, fs._cat_ranges, list(paths), list(starts), list(ends), on_error="raise", timeout=TIMEOUT_SEC
        )
    else:
        found = fs.cat_ranges(list(paths), list(starts), list(ends), on_error="raise")
    for path, start, end, content in zip(paths, starts, ends, found, strict=True):
        if len(content) != end - start:
            raise OSError(f"asked for bytes {start} to {end} of {path}, and {len(content)} bytes came")
    return list(found)


def listed(url: str) -> list[str]:
    """The files that a URL or a path with ``*``, ``?`` or ``[...]`` stands for, sorted.

    Raises:
        DataError: When there are none.
    """
    place = Place(url)
    found = tried(url, lambda: sorted(place.fs.glob(place.path)))
    if not found:
        raise DataError(f"no file '{url}'\n  check the name of the bucket and the pattern")
    return [place.at(path) for path in found]


def has_pattern(url: str) -> bool:
    """Whether a URL stands for several files."""
    return any(sign in url.partition("://")[2] or ("://" not in url and sign in url) for sign in "*?[")


def copied(url: str, folder: Path | None = None, tries: int = TRIES, version: str | None = None) -> Path:
    """A file elsewhere, or a folder with all below it, as a copy on this machine.

    It is copied once for each of its versions; processes that want it at the same time wait for the first one.

    Args:
        url: The URL.
        folder: Where copies are kept; by default ``files`` in the user's data folder.
        tries: So often a read is tried.
        version: What tells its contents from others, where that is known: a copy is then used without asking.

    Raises:
        DataError: When it is not there, cannot be read, or does not fit on the disk.
    """
    import hashlib

    place = Place(url)
    if place.is_local:
        return Path(place.path)
    key = version or tried(url, lambda: _version(place), tries)
    digest = hashlib.blake2b(f"{url} {key}".encode(), digest_size=10).hexdigest()
    copy = (folder or data_dir() / "files") / digest / Path(place.path.rstrip("/")).name
    if copy.exists():
        return copy
    with _alone(copy.parent):
        if not copy.exists():
            tried(url, lambda: _copy(place, copy), tries)
    return copy


def _version(place: Place) -> str:
    """What tells a file's contents, or a folder's, from others: sizes and checksums or times, as the storage has."""
    fs = place.fs
    fs.invalidate_cache()
    if fs.isdir(place.path):
        return str(
            sorted((name, info.get("size"), _mark(info)) for name, info in fs.find(place.path, detail=True).items())
        )
    info = fs.info(place.path)
    return f"{info.get('size')} {_mark(info)}"


def version_of(url: str, tries: int = TRIES) -> tuple[int, str]:
    """Bytes of a file, and what tells its contents from others.

    Raises:
        DataError: When it is not there or cannot be asked for.
    """
    place = Place(url)
    info = tried(url, lambda: place.fs.info(place.path), tries)
    if info.get("type") == "directory":
        raise DataError(f"'{url}' is a folder, not a file")
    return int(info.get("size") or 0), _mark(info)


def _mark(info: dict[str, Any]) -> str:
    marks = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
    return next((str(info[mark]) for mark in marks if info.get(mark)), "")


def _copy(place: Place, copy: Path) -> None:
    own = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        if place.fs.isdir(place.path):
            place.fs.get(place.path.rstrip("/") + "/", f"{own}/", recursive=True)
        else:
            place.fs.get_file(place.path, str(own))
        own.rename(copy)
    finally:
        if own.is_dir():
            shutil.rmtree(own)
        own.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let other processes that come here wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise DataError(f"no copy can be kept in '{folder}': {_line(error)}\n  set WF_DATA_DIR to a folder") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
