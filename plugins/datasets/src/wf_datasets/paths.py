"""Files and folders that the user named, on this machine or at a URL."""

from __future__ import annotations

from pathlib import Path

from wf.errors import DataError, closest
from wf_base.reading import broken_link
from wf_storage.remote import copied, url_of


def existing_file(path: Path) -> Path:
    """`path` with ``~`` expanded; a copy of a file at a URL.

    Raises:
        DataError: If there is no such file.
    """
    url = url_of(path)
    path = Path(path).expanduser() if url is None else copied(url)
    if path.is_dir():
        raise DataError(f"'{path}' is a folder, not a file")
    if not path.exists():
        raise DataError(_missing("file", path))
    return path


def existing_folder(path: Path) -> Path:
    """`path` with ``~`` expanded; a copy of a folder at a URL.

    Raises:
        DataError: If there is no such folder.
    """
    url = url_of(path)
    path = Path(path).expanduser() if url is None else copied(url)
    if path.is_file():
        raise DataError(f"'{path}' is a file, not a folder")
    if not path.exists():
        raise DataError(_missing("folder", path))
    return path


def _missing(what: str, path: Path) -> str:
    if (link := broken_link(path)) is not None:
        return link
    parent = path.absolute().parent
    if not parent.is_dir():
        return f"no {what} '{path}'\n  there is no folder '{parent}' either; set it with --dataset.path"
    near = closest(path.name, (entry.name for entry in parent.iterdir()))
    hint = f"\n  did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return f"no {what} '{path}'{hint}\n  set it with --dataset.path"
