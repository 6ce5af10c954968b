"""Finding and loading plugins; each broken one is listed as failed and harms no other."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from wf import Component, hookimpl
from wf.errors import UsageError
from wf.plugins import Plugin, Selection, builtin_distributions, discover, import_module, is_path, normalize

GOOD = """
from wf import Component, hookimpl
@hookimpl
def wf_components():
    return [Component("loss", "good", "m:Good")]
"""

Entries = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WF_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("wf_file_"):
            del sys.modules[name]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Entries:
    """Pretend that these entry points are the installed ones: (distribution, key, what loading it gives or raises)."""

    def install(*entries: tuple[str, str, Any]) -> None:
        points = [_entry(distribution, key, result) for distribution, key, result in entries]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)

    return install


def _entry(distribution: str, key: str, result: Any) -> Any:
    def load() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    dist = SimpleNamespace(name=distribution, version="1.0")
    return SimpleNamespace(name=key, value=f"{distribution}.{key}", dist=dist, load=load)


def module(name: str = "m", *components: Any) -> ModuleType:
    made = ModuleType(name)

    @hookimpl
    def wf_components() -> Any:
        return list(components) or [Component("loss", name, f"{name}:Loss")]

    made.wf_components = wf_components  # type: ignore[attr-defined]  # a module of its own
    return made


def one(text: str, tmp_path: Path) -> Plugin:
    """What becomes of a plugin file with this text, loaded beside a good one."""
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "mine.py").write_text(text)
    found = discover(Selection(extra=(str(tmp_path / "mine.py"), str(tmp_path / "good.py")), autoload=False))
    assert [plugin.name for plugin in found] == ["good", "mine"]
    assert found[0].status == "ok"
    return found[1]


# Quarantine


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def (:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("import nowhere.deep", "ModuleNotFoundError: No module named 'nowhere' (try: pip install nowhere)"),
        ("from wf import Nothing", "ImportError: cannot import name 'Nothing' from 'wf'"),
        ("raise RuntimeError('two\\n  lines')", "RuntimeError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("", "is no plugin: no function is marked with @hookimpl"),
        ("def wf_components(): return []", "is no plugin: no function is marked with @hookimpl"),
        (
            "from wf import hookimpl\n@hookimpl\ndef wf_component(): return []",
            "unknown hook 'wf_component'; did you mean 'wf_components'?; available: wf_components",
        ),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(x): return []", "PluginValidationError: "),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return None", "gave NoneType, not a list"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): yield 1", "gave generator, not a list"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return [1]", "gave 1, which is neither"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return 1 / 0", "ZeroDivisionError: division"),
        (GOOD.replace('"loss"', '"lose"'), "component 'good' is of unknown kind 'lose'; kinds: dataset"),
        (GOOD.replace('"good"', '"Good"'), "'Good' is not a component name"),
        (GOOD.replace('"m:Good")', '"m:Good", aliases=("good",))'), "it declares loss 'good' twice"),
        (GOOD.replace("[Comp", "[Component('loss', 'a-b', 'm:A', aliases=('a_b',)), Comp"), "loss 'a_b' twice"),
        (
            GOOD.replace("Component", "Catalogue").replace('"m:Good"', '"m:make", "wf:no-such.txt"'),
            "FileNotFoundError: ",
        ),
        (
            GOOD.replace("Component", "Catalogue").replace('"m:Good"', '"m:make", "nowhere:names.txt"'),
            "ModuleNotFoundError: No module named 'nowhere'",
        ),
    ],
)
def test_a_broken_plugin_is_listed_with_its_error(tmp_path: Path, text: str, error: str) -> None:
    plugin = one(text, tmp_path)
    assert plugin.status == "failed"
    assert plugin.components == ()
    assert plugin.error is not None
    assert error in plugin.error
    assert "\n" not in plugin.error
    assert plugin.details is not None
    assert "Traceback" in plugin.details


def test_control_c_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        one("raise KeyboardInterrupt", tmp_path)


def test_what_a_plugin_prints_is_not_mixed_with_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert one(GOOD + "print('hello')", tmp_path).status == "ok"
    assert capsys.readouterr() == ("", "hello\n")


def test_a_file_that_failed_is_tried_again(tmp_path: Path) -> None:
    assert one("x = 1 / 0", tmp_path).status == "failed"
    assert one(GOOD, tmp_path).status == "ok"


def test_broken_entry_points_harm_no_other(installed: Entries) -> None:
    installed(
        ("a-broken", "main", ImportError("no")),
        ("b-good", "main", module("b")),
        ("c-object", "main", 5),
        ("d-exit", "main", SystemExit("bye")),
    )
    assert [(plugin.name, plugin.status) for plugin in discover()] == [
        ("a-broken", "failed"),
        ("b-good", "ok"),
        ("c-object", "failed"),
        ("d-exit", "failed"),
    ]


# Names and selection


def test_a_plugin_is_known_by_its_distribution(installed: Entries) -> None:
    installed(("My_Losses", "main", module("a")), ("My_Losses", "more", module("b")), ("other", "main", module("c")))
    found = discover()
    assert [plugin.name for plugin in found] == ["my-losses", "my-losses[more]", "other"]
    assert (found[0].distribution, found[0].version, found[0].module) == ("My_Losses", "1.0", "My_Losses.main")
    assert found[0].import_ms >= 0


@pytest.mark.parametrize("name", ["my-losses", "My_Losses", "my.losses"])
def test_a_blocked_plugin_is_listed_and_not_imported(installed: Entries, name: str) -> None:
    installed(("My_Losses", "main", RuntimeError("imported!")), ("other", "main", module("c")))
    blocked, other = discover(Selection.parse([f"no:{name}"]))
    assert (blocked.status, blocked.error, other.status) == ("blocked", "blocked by -p no:", "ok")


def test_blocking_what_is_not_there(installed: Entries) -> None:
    installed(("my-losses", "main", module("a")))
    with pytest.raises(UsageError, match="unknown plugin in -p no: 'my-loss'\n  did you mean 'my-losses'"):
        discover(Selection.parse(["no:my-loss"]))


def test_autoload_can_be_turned_off(installed: Entries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(("my-losses", "main", RuntimeError("imported!")))
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "good.py").write_text(GOOD)
    found = discover(Selection.parse([str(tmp_path / "good.py"), "no:my-losses"]))
    assert [(plugin.name, plugin.status) for plugin in found] == [("good", "ok")]


@pytest.mark.parametrize("value", ["", "0"])
def test_autoload_is_on_otherwise(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", value)
    assert Selection.parse([]).autoload


def test_only_what_comes_with_wf(installed: Entries) -> None:
    assert "wf-losses" in builtin_distributions()
    installed(("WF.losses", "main", module("a")), ("stranger", "main", RuntimeError("imported!")))
    found = discover(Selection.parse(["no:stranger"], only_builtin=True))
    assert [plugin.name for plugin in found] == ["wf-losses"]


def test_normalize() -> None:
    assert normalize("My__Losses.-x") == "my-losses-x"


# -p


def test_a_module_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_by_name.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = discover(Selection(extra=("plugin_by_name",), autoload=False))
    assert (plugin.name, plugin.distribution, plugin.version, plugin.status) == ("plugin_by_name", None, None, "ok")


@pytest.mark.parametrize("name", ["nowhere", "wf.nowhere", "nowhere.deeper", ".relative", "wf.errors.deeper"])
def test_no_such_module(name: str) -> None:
    with pytest.raises(UsageError, match="there is no such module"):
        discover(Selection(extra=(name,), autoload=False))


def test_a_module_in_a_broken_package_is_listed_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_package"
    package.mkdir()
    (package / "__init__.py").write_text("import nowhere")
    (package / "plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = discover(Selection(extra=("broken_package.plugin",), autoload=False))
    assert (plugin.status, plugin.error) == (
        "failed",
        "ModuleNotFoundError: No module named 'nowhere' (try: pip install nowhere)",
    )


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "losses.py").touch()
    with pytest.raises(UsageError, match=r"there is no such file\n  did you mean .*/losses\.py"):
        discover(Selection(extra=(f"{tmp_path}/loses.py",), autoload=False))


def test_the_same_plugin_named_twice_is_one(tmp_path: Path, installed: Entries) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    file = str(tmp_path / "good.py")
    names = (file, file, f"{tmp_path}/../{tmp_path.name}/good.py")
    assert [plugin.status for plugin in discover(Selection(extra=names, autoload=False))] == ["ok"]
    shared = module("wf.plugin")
    installed(("wf", "errors", shared))
    assert [plugin.name for plugin in discover(Selection(extra=("wf.errors",)))] == ["wf"]


def test_files_of_the_same_name(tmp_path: Path) -> None:
    files = [tmp_path / folder / "good.py" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text(GOOD)
    found = discover(Selection(extra=tuple(map(str, files)), autoload=False))
    assert [(plugin.name, plugin.status) for plugin in found] == [("good", "ok"), (f"good[{files[1]}]", "ok")]


def test_import_by_path(tmp_path: Path) -> None:
    file = tmp_path / "größe net.py"
    file.write_text("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int' = 1\n")
    made = import_module(str(file))
    assert made.A().x == 1
    assert import_module(str(file)) is made
    with pytest.raises(UsageError, match="there is no file"):
        import_module(str(tmp_path / "other.py"))


@pytest.mark.parametrize(("name", "wanted"), [("a.py", True), ("a/b", True), ("a.b", False), ("a", False)])
def test_is_path(name: str, wanted: bool) -> None:
    assert is_path(name) is wanted
