"""The code that a run's components come from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wf.declarations.component import Component
from wf.discovery.entry import Entry
from wf.discovery.plugins import Plugin
from wf_run.resuming import sources

FILES = {
    "mine/__init__.py": "",
    "mine/plugin.py": "",
    "mine/loss.py": "import torch\nfrom scales import SCALE  # once\n\ndef sharp(predictions, targets): ...\n",
    "scales.py": "import os, far.away as far\nSCALE = 1.0\n",
    "far/__init__.py": "",
    "far/away.py": "",
    "never.py": "",
    "other/own.py": "def loss(predictions, targets):\n    import helper\n",
    "other/helper.py": "import scales\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "other")
    for name in list(sys.modules):
        if name.partition(".")[0] in ("mine", "scales", "far"):  # modules of another test
            monkeypatch.delitem(sys.modules, name)
    sources._local.cache_clear()
    return tmp_path


@pytest.fixture
def entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    plugin = Plugin(name="mine", distribution="mine", version="1.0", module="mine.plugin", status="ok")
    made = Entry(Component("loss", "sharp", "mine.loss:sharp"), plugin)
    made.load()
    return made


def test_the_checksum_of_a_plugin_covers_its_package_and_imports(folder: Path, entry: Entry) -> None:
    before = sources.plugin_code([entry], [])
    assert before.keys() == {"mine 1.0", "scales", "far"}
    assert sources.plugin_code([entry], []) == before
    for file, name in (("mine/plugin.py", "mine 1.0"), ("scales.py", "scales"), ("far/away.py", "far")):
        (folder / file).write_text((folder / file).read_text() + "# edited\n")
        after = sources.plugin_code([entry], [])
        assert [key for key in before if before[key] != after[key]] == [name]
        before = after
    (folder / "never.py").write_text("# edited")
    assert sources.plugin_code([entry], []) == before


def test_files_are_read_again_only_after_a_change(folder: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sources.plugin_code([entry], [])
    read: list[str] = []
    bytes_of = Path.read_bytes

    def noted(file: Path) -> bytes:
        read.append(file.name)
        return bytes_of(file)

    monkeypatch.setattr(Path, "read_bytes", noted)
    assert sources.plugin_code([entry], []) == before
    assert read == []
    (folder / "far/more.py").write_text("import never\n")
    assert sources.plugin_code([entry], []).keys() == {*before, "never"}
    assert sorted(read) == ["__init__.py", "away.py", "more.py", "never.py"]
    (folder / "far/more.py").unlink()
    assert sources.plugin_code([entry], []) == before


def test_user_files_include_the_neighbouring_modules_they_import(folder: Path) -> None:
    own = folder / "other/own.py"
    files = sources.with_neighbours([own])
    assert files == {own, folder / "other/helper.py"}
    assert sources.plugin_code([], files).keys() == {"scales", "far"}
