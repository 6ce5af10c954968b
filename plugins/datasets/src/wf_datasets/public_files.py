"""Locating the files of a public dataset, with download as the last resort."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wf.errors import DataError
from wf_storage.downloads import timeout


@dataclass(frozen=True)
class Places:
    """The folders to search, in order."""

    title: str
    folders: tuple[Path, ...]
    download_to: Path
    advice: tuple[str, ...] = ()
    """Other ways to get the files, one per line."""

    def find(self, *choices: Sequence[str]) -> list[Path] | None:
        """The files of the first folder that has all names of one choice, each with or without ``.gz``."""
        for folder in self.folders:
            for names in choices:
                files = [path for name in names if (path := _plain_or_gz(folder, name))]
                if len(files) == len(names):
                    return files
        return None

    def fetch(self, download: Callable[[Path], object]) -> None:
        """Download into `download_to`; messages go to standard error.

        Raises:
            DataError: If that fails, with the searched places and advice.
        """
        print(f"{self.title} is not on this machine: downloading it to {self.download_to}", file=sys.stderr)
        try:
            with contextlib.redirect_stdout(sys.stderr), timeout():
                self.download_to.mkdir(parents=True, exist_ok=True)
                download(self.download_to)
        except (OSError, RuntimeError, ImportError, EOFError) as error:  # URLError is an OSError
            raise self.error(f"and could not be downloaded: {str(error).strip() or type(error).__name__}") from error

    def error(self, why: str) -> DataError:
        """The error for missing files."""
        looked = "\n".join(f"    {folder}" for folder in self.folders)
        ways = [*self.advice, "name the folder that holds the files: --dataset.root DIR, or WF_DATA_DIR for all data"]
        advice = "\n".join(f"    {way}" for way in ways)
        return DataError(f"{self.title} was not found {why}\n  looked in:\n{looked}\n  what to do:\n{advice}")


def places(
    title: str,
    root: Path | None,
    data_dir: Path,
    *,
    inside: Sequence[str],
    system: Sequence[Path] = (),
    advice: Sequence[str] = (),
) -> Places:
    """The places for one dataset: `root`, the data folder, each of their folders `inside`, and the system's.

    Args:
        title: The dataset's name for messages.
        root: The folder that the user named, if any; downloads go there, else to `data_dir`.
        data_dir: The user's data folder.
        inside: Subfolders of these two that are searched as well.
        system: System folders.
        advice: Other ways to get the files.
    """
    bases = [Path(base).expanduser() for base in (root, data_dir) if base is not None]
    folders = [folder for base in bases for folder in (base, *(base / name for name in inside))]
    return Places(title, tuple(dict.fromkeys([*folders, *system])), bases[0], tuple(advice))


def _plain_or_gz(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
