"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from wf_storage import files

if TYPE_CHECKING:
    pass


def sha256_of(file: Path) -> str:
    """The checksum of a file's content."""
    return digest_of(file).hexdigest()


def digest_of(file: Path, size: int | None = None) -> hashlib._Hash:
    """The SHA-256 of a file, or of its first `size` bytes, as a hash object that can be updated further."""
    digest = hashlib.sha256()
    for block in files.blocks(file, size):
        digest.update(block)
    return digest
