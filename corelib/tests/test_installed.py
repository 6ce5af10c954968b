"""Installed distributions are found as by `importlib.metadata`."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wf.discovery.installed import EntryPoint, distribution, distributions, entry_points


def install(folder: Path, name: str, points: str = "") -> Path:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return info


def test_this_environment_is_read_as_by_importlib() -> None:
    theirs = [one.read_text("METADATA") for one in importlib.metadata.distributions()]
    assert [one.read_text("METADATA") for one in distributions()] == theirs
    for one in importlib.metadata.distributions():
        text = one.read_text("entry_points.txt") or ""
        for group in one.entry_points.groups:
            expected = [(point.name, point.value) for point in one.entry_points.select(group=group)]
            assert [(point.name, point.value) for point in entry_points(text, group)] == expected


@pytest.mark.parametrize("name", ["wf-core", "WF_core", "wf.losses", "click", "no-such-distribution"])
def test_a_distribution_by_name(name: str) -> None:
    found = distribution(name)
    try:
        expected = importlib.metadata.distribution(name).read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        assert found is None
    else:
        assert found is not None
        assert found.read_text("METADATA") == expected


def test_a_distribution_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert distribution("new-one") is None
    info = install(tmp_path, "new_one")
    found = distribution("New.One")
    assert found is not None
    assert found.read_text("entry_points.txt") == ""
    assert found.read_text("direct_url.json") is None
    (info / "METADATA").unlink()
    (info / "entry_points.txt").unlink()
    info.rmdir()
    assert distribution("new-one") is None


def test_distributions_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "one", "here")
    (tmp_path / "two").mkdir()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.chdir(tmp_path / "one")
    assert distribution("here") is not None
    monkeypatch.chdir(tmp_path / "two")
    assert distribution("here") is None


def test_a_zip_file_of_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("zipped-1.0.dist-info/METADATA", "Name: zipped\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path / "all.zip")
    found = distribution("zipped")
    assert found is not None
    assert "Name: zipped" in (found.read_text("METADATA") or "")
    assert distribution("wf-core") is not None


def test_an_import_hook_with_distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = install(tmp_path, "hooked")

    class Finder:
        @staticmethod
        def find_spec(*_: Any) -> None:
            return None

        @staticmethod
        def find_distributions(_: Any) -> Iterator[importlib.metadata.Distribution]:
            yield importlib.metadata.PathDistribution(info)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    assert next(distributions()).read_text("METADATA") == "Name: hooked\nVersion: 1.0\n"


def test_entry_points_of_a_group() -> None:
    text = "# one\n[ours]\n a = b.c \n# two\nd=e:f.g [more]\n\n[theirs]\nh = i\n[ours]\nj = k=l\n"
    assert entry_points(text, "ours") == [
        EntryPoint("a", "b.c"),
        EntryPoint("d", "e:f.g [more]"),
        EntryPoint("j", "k=l"),
    ]
    assert EntryPoint("a", "os:path.join [more]").load() is __import__("os").path.join
    assert EntryPoint("a", "sys").load() is sys
    assert EntryPoint("a", "not a module!").target() is None
    with pytest.raises(ValueError, match="'h' is not of the form name = module"):
        entry_points("[ours]\na = b\n[theirs]\nh\n", "ours")
