"""Settings of the user and the project: where they are read, which one wins, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from wf.discovery.settings import AllowList, Settings, load, user_file
from wf.errors import UsageError


@pytest.fixture(autouse=True)
def _empty_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("WF_PLUGINS_ALLOW", raising=False)


def project(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pyproject.toml"
    file.write_text(text)
    return file


def user(text: str) -> Path:
    file = user_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_no_settings_by_default(tmp_path: Path) -> None:
    project(tmp_path, "[tool.other]\nx = 1\n")
    assert load(tmp_path) == Settings()


def test_the_nearest_project_with_settings_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = project(tmp_path, '[tool.wf.pin.loss]\nfocal = "outer"\n')
    project(tmp_path / "a", "[project]\nname = 'tool.wf'\n")
    project(tmp_path / "a" / "b", '[tool.wf]\nallow = ["inner"]\n')
    assert [(pin.kind, pin.name, pin.provider, pin.place) for pin in load(tmp_path / "a").pins] == [
        ("loss", "focal", "outer", str(outer))
    ]
    inner = load(tmp_path / "a" / "b" / "c")
    assert (inner.pins, inner.allow[0].names) == ((), ("inner",))
    monkeypatch.chdir(tmp_path / "a")
    assert load().files == (outer,)


@pytest.mark.parametrize(
    "text",
    [
        '[tool.wf]\nallow = ["a"]\n',
        '[tool . "wf"]\nallow = ["a"]\n',
        "['tool'.wf]\nallow = ['a']\n",
        '[tool]\nwf.allow = ["a"]\n',
        '[tool]\n  "wf" = {allow = ["a"]}\n',
        'tool.wf.allow = ["a"]\n',
        'tool = {other = 1, wf = {allow = ["a"]}}\n',
        '"tool" = {wf.allow = ["a"]}\n',
    ],
)
def test_the_table_is_found_in_every_notation(tmp_path: Path, text: str) -> None:
    project(tmp_path, text)
    assert load(tmp_path).allow[0].names == ("a",)


def test_project_settings_win_over_user_settings(tmp_path: Path) -> None:
    mine = user('allow = ["a", "b"]\n[pin.loss]\nfocal = "mine"\nl1 = "mine"\n[check.skip]\nx = "mine"\ny = "mine"\n')
    ours = project(tmp_path, '[tool.wf]\nallow = ["b"]\npin.loss.focal = "ours"\ncheck.skip.x = "ours"\n')
    found = load(tmp_path)
    assert [(pin.name, pin.provider) for pin in found.pins] == [("focal", "ours"), ("focal", "mine"), ("l1", "mine")]
    assert found.check == {"skip": {"x": "ours", "y": "mine"}}
    assert found.files == (ours, mine)
    assert [one.place for one in found.allow] == [str(ours), str(mine)]


def test_the_environment_variable_adds_an_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user('allow = ["a"]\n')
    monkeypatch.setenv("WF_PLUGINS_ALLOW", " builtin , wf-x,,")
    assert load(tmp_path).allow[1] == AllowList(("builtin", "wf-x"), "WF_PLUGINS_ALLOW")
    monkeypatch.setenv("WF_PLUGINS_ALLOW", "")
    assert len(load(tmp_path).allow) == 1


def test_an_empty_list_allows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_PLUGINS_ALLOW", " , ")
    file = project(tmp_path, "[tool.wf]\nallow = []\n")
    assert load(tmp_path).allow == (AllowList((), str(file)), AllowList((), "WF_PLUGINS_ALLOW"))
    assert not AllowList((), "x").allows("wf-losses", builtin=True)


def test_builtin_is_case_insensitive_in_allow_lists() -> None:
    assert AllowList(("Builtin",), "x").allows("wf-losses", builtin=True)
    assert not AllowList(("Builtin",), "x").allows("mine", builtin=False)


def test_no_home_folder_and_no_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)  # as in a container that runs as an unknown user
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    project, mine = load().missed
    assert "project's settings could not be looked for: FileNotFoundError: [Errno 2] No such file or dir" in project
    assert "the user's settings could not be looked for: RuntimeError: could not determine the home directory" in mine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.wf\n", "the settings in .*pyproject.toml cannot be read: "),
        ("tool.wf = 3", r"\[tool.wf\] of .* is int, not a table"),
        ("[tool]\nwf = []", r"\[tool.wf\] of .* is list, not a table"),
        ('tool.wf.alow = ["x"]', "unknown setting 'alow'\n  did you mean 'allow'.*\n.*\n  in .*pyproject.toml"),
        ('tool.wf.allow = "x"', "'allow' in .* must be a list of names of distributions, not 'x'"),
        ("tool.wf.allow = [1]", "'allow' in .* must be a list"),
        ("tool.wf.pin = 1", r"'pin' in .* must hold tables, as \[pin.loss\]"),
        ('tool.wf.pin.focal = "x"', "'pin' in .* must hold tables"),
        ("tool.wf.pin.loss.focal = 1", "pin.loss.focal in .* must name a distribution, not 1"),
        ("tool.wf.check = []", r"'check' in .* must hold tables, as \[check.skip\]"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    project(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        load(tmp_path)


def test_a_pin_of_an_undeclared_kind_is_refused(tmp_path: Path) -> None:
    project(tmp_path, 'tool.wf.pin.los.focal = "x"')
    with pytest.raises(UsageError, match=r"unknown kind 'los'\n  did you mean 'loss'.*\n.*\n  in 'pin' of"):
        load(tmp_path).check_kinds()


def test_user_settings_have_no_tool_table(tmp_path: Path) -> None:
    user("[tool.wf]\nallow = []\n")
    with pytest.raises(UsageError, match=r"unknown setting 'tool'\n.*\n  in .*; its keys stand at the top, without"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ['[tool]\nwf.allow = ["x"]', '[ tool . "wf" ]\nallow = ["x"]', 'tool = {wf = {allow = ["x"]}}']
)
def test_every_toml_spelling_of_the_table_is_read(tmp_path: Path, text: str) -> None:
    project(tmp_path, text)
    assert [one.names for one in load(tmp_path).allow] == [("x",)]


def test_an_undecodable_settings_file(tmp_path: Path) -> None:
    user("").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"the settings in .*settings\.toml cannot be read"):
        load(tmp_path)
