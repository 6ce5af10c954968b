"""Compressed files and links to nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from wf_base.reading import broken_link, compression_of, unpacking


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        (gzip.compress(b"a,b\n", mtime=0), "gzip"),
        (bz2.compress(b"a,b\n"), "bzip2"),
        (lzma.compress(b"a,b\n"), "xz"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
        (b"PK\x03\x04\x14\x00", "zip"),
        (b"BZh,PK\n1,2\n", None),
        (b"a,b\n", None),
        (b"", None),
    ],
)
def test_compression_is_recognised_by_the_first_bytes(beginning: bytes, found: str | None) -> None:
    assert compression_of(beginning) == found


def test_advice_names_the_plain_file() -> None:
    assert unpacking("a.csv.gz", "gzip") == "unpack it: gzip -dc a.csv.gz > a.csv"
    assert unpacking("a.csv", "zstd") == "unpack it: zstd -dc a.csv > unpacked-a.csv"


def test_links_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    for name, target in (("good", "there"), ("gone", "nowhere"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    found = {name: broken_link(tmp_path / name) for name in ("good", "gone", "loop", "there", "none")}
    assert [name for name, words in found.items() if words is not None] == ["gone", "loop"]
    assert "is a link to 'nowhere'" in str(found["gone"])
