"""Reads remote files by fsspec, such as ``s3://bucket/house.csv``, with retries and a timeout."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wf.errors import DataError, UsageError
from wf.terminal import plural
from wf_storage.folders import data_dir

T = TypeVar("T")

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):/(?!/)|([a-zA-Z][a-zA-Z0-9+.-]+(?:::[a-zA-Z0-9+.-]+)*)://")
TIMEOUT_SEC = 60.0
"""Timeout of one attempt to read."""
TRIES = 5
"""Number of attempts to read, with pauses of 1, 2, 4 and 8 seconds between them."""
_NO_USE = (IsADirectoryError, NotADirectoryError, PermissionError, NotImplementedError, ImportError)
_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError")
"""Errors for which a retry is useless; the second ones by name, because botocore may not be installed."""


def url_of(path: Path | str) -> str | None:
    """The URL in a path, or None if it has none; restores the second slash that ``Path("s3://bucket/x")`` drops."""
    text = str(path)
    found = _URL.match(text)
    if found is None or (found[1] and Path(text).exists()):
        return None
    if found[2]:
        return text
    rest = text[found.end() :]
    return f"{found[1]}:///{rest}" if found[1] in ("file", "local") else f"{found[1]}://{rest}"


class Place:
    """An fsspec file system, created in each process when needed, and a path on it.

    Args:
        url: A URL, or a path of this machine.

    Raises:
        DataError: If the package for such URLs is not installed.
        UsageError: If fsspec does not support such URLs.
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
        """Whether the path is on this machine's disk."""
        return "local" in getattr(self.fs, "protocol", ())

    def at(self, path: str) -> str:
        """The URL of another path on the same file system."""
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
            raise UsageError(f"'{self.url}': {_line(error)}\n  fsspec supports: {known}") from error
        return fs, str(path)


def _package(hint: str) -> str:
    """The package in a hint such as 'Install s3fs to access S3'."""
    found = re.search(r"[Ii]nstall (?:the )?[\"'`]?([\w\[\]-]+)", hint)
    return found[1] if found else "that package"


def tried(what: str, read: Callable[[], T], tries: int = TRIES) -> T:
    """Call `read`, again if the network fails, and return its result.

    Args:
        what: The name of the file or folder, for messages.
        read: Reads it.
        tries: Number of attempts.

    Raises:
        DataError: If the file does not exist, access is denied, or every attempt failed.
    """
    for number in range(1, tries + 1):
        try:
            return read()
        except DataError:
            raise
        except Exception as raised:  # every storage library has its own errors
            error = _reason(raised)
            if isinstance(error, FileNotFoundError):
                raise DataError(f"no file '{what}'\n  check its name, and the name of the bucket or host") from raised
            if isinstance(error, OSError) and error.errno == errno.ELOOP:
                raise DataError(f"'{what}' is a symbolic link that leads in a circle") from raised
            if isinstance(error, _NO_USE) or type(error).__name__ in _CREDENTIALS:
                raise DataError(f"'{what}' cannot be read: {_line(error)}\n  check the credentials") from raised
            if number == tries:
                raise DataError(
                    f"'{what}' cannot be read, tried {plural(tries, 'time')}: {_line(error)}\n"
                    "  check the network and the credentials; continue an interrupted run with wf resume"
                ) from raised
            time.sleep(2.0 ** (number - 1))
    raise AssertionError(tries)


def _reason(error: Exception) -> BaseException:
    """The cause of an error: fsspec raises FileNotFoundError if a host does not answer, from the network's OSError."""
    cause = error.__cause__
    hidden = isinstance(error, FileNotFoundError) and isinstance(cause, OSError)
    return cause if hidden and cause is not None else error


def ranges(place: Place, paths: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
    """Read byte ranges of files, concurrently if the storage supports it.

    Args:
        place: The file system.
        paths: The file of each range.
        starts: The first byte of each range.
        ends: The end of each range, exclusive.

    Raises:
        OSError: If a read fails, returns too few bytes, or takes longer than `TIMEOUT_SEC`.
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
            raise OSError(f"requested bytes {start} to {end} of {path}, but received {len(content)} bytes")
    return list(found)


def listed(url: str) -> list[str]:
    """The files that match a URL or a path with ``*``, ``?`` or ``[...]``, sorted.

    Raises:
        DataError: If no file matches.
    """
    place = Place(url)
    found = tried(url, lambda: sorted(place.fs.glob(place.path)))
    if not found:
        raise DataError(f"no file '{url}'\n  check the name of the bucket and the pattern")
    return [place.at(path) for path in found]


def has_pattern(url: str) -> bool:
    """Whether a URL contains a wildcard."""
    return any(sign in url.partition("://")[2] or ("://" not in url and sign in url) for sign in "*?[")


def copied(url: str, folder: Path | None = None, tries: int = TRIES, version: str | None = None) -> Path:
    """A local copy of a remote file or folder.

    Each version is copied once; other processes that need it at the same time wait.

    Args:
        url: The URL of the file or folder.
        folder: The folder for copies; by default ``files`` in the user's data folder.
        tries: Number of attempts to read.
        version: The version of its contents, if known; an existing copy is then used without asking the storage.

    Raises:
        DataError: If it does not exist, cannot be read, or does not fit on the disk.
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
    """The version of a file or folder: sizes, and the storage's checksums or modification times."""
    fs = place.fs
    fs.invalidate_cache()
    if fs.isdir(place.path):
        return str(
            sorted((name, info.get("size"), _mark(info)) for name, info in fs.find(place.path, detail=True).items())
        )
    info = fs.info(place.path)
    return f"{info.get('size')} {_mark(info)}"


def version_of(url: str, tries: int = TRIES) -> tuple[int, str]:
    """The size of a file in bytes, and its version: the storage's checksum or modification time.

    Raises:
        DataError: If it does not exist, is a folder, or the storage cannot be reached.
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
    """Hold an exclusive lock on a folder; other processes wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise DataError(f"cannot write to '{folder}': {_line(error)}\n  set WF_DATA_DIR to another folder") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
