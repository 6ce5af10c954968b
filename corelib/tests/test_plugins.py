"""Finding and loading plugins; each broken one is listed as failed and harms no other."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from wf.declarations.vocabulary import forget
from wf.discovery.distributions import builtin_distributions, is_within, unsupported_core
from wf.discovery.installed import Installed, Metadata, distributions
from wf.discovery.known import how_to_install
from wf.discovery.modules import explain, import_module, is_path, normalize
from wf.discovery.plugins import Plugin, Selection, discover
from wf.discovery.settings import AllowList
from wf.errors import UsageError

GOOD = """
from wf import Component, hookimpl
@hookimpl
def wf_components():
    return [Component("loss", "good", "m:Good")]
"""

Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WF_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("wf_file_") or "_of_test" in name:
            del sys.modules[name]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Install distributions that no other test sees: ``install("My_Losses", main=TEXT, more=TEXT)``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def of_site() -> list[Installed]:
        return [one for one in distributions() if isinstance(one, Metadata) and Path(one.folder).parent == site]

    monkeypatch.setattr("wf.discovery.distributions.distributions", of_site)

    def install(distribution: str, requires: tuple[str, ...] = (), **modules: str) -> None:
        package = f"{re.sub(r'[^a-z]', '_', distribution.lower())}_of_test"
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
        for key, text in modules.items():
            (site / package / f"{key}.py").write_text(text)
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {distribution}", "Version: 1.0"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join([*lines, "", "Requires-Dist: this is only the description"]))
        points = "\n".join(f"{key} = {package}.{key}" for key in modules if key in ("main", "more"))
        (info / "entry_points.txt").write_text(f"[wf.plugins]\n{points}\n")
        importlib.invalidate_caches()

    return install


def load_beside_good(text: str, tmp_path: Path) -> Plugin:
    """The plugin that a file with this text becomes, loaded beside a good one."""
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
        ("import nowhere.deep", "ModuleNotFoundError: No module named 'nowhere'"),
        ("from wf import Nothing", "ImportError: cannot import name 'Nothing' from 'wf'"),
        ("raise RuntimeError('two\\n  lines')", "RuntimeError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise GeneratorExit('odd')", "GeneratorExit: odd"),
        (
            "class Silent(Exception):\n    def __str__(self): return 1 / 0\nraise Silent",
            "Silent: (its message cannot be read: ZeroDivisionError)",
        ),
        ("", "is no plugin: no function is marked with @hookimpl"),
        (
            "def wf_components(): return []",
            "is no plugin: no function is marked with @hookimpl; wf_components is there, without the mark",
        ),
        (
            "from wf import hookimpl\n@hookimpl\ndef wf_component(): return []",
            "unknown hook 'wf_component'; did you mean 'wf_components' or 'wf_commands'?; available: wf_components",
        ),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(x): return []", "wf_components(x) takes arguments"),
        ("from wf import hookimpl\n@hookimpl\nasync def wf_components(): return []", "gave coroutine, not a list"),
        (
            GOOD.replace("@hookimpl", "class Mine:\n  @hookimpl").replace("def ", "  def "),
            "mine.py' is no plugin: no function is marked with @hookimpl; "
            "class Mine has one: point the entry point at an instance of it",
        ),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return None", "gave NoneType, not a list"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): yield 1", "gave generator, not a list"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return [1]", "gave 1, which is neither"),
        ("from wf import hookimpl\n@hookimpl\ndef wf_components(): return 1 / 0", "ZeroDivisionError: division"),
        (GOOD.replace('"loss"', '"lose"'), "component 'good' is of unknown kind 'lose'; did you mean loss?"),
        (GOOD.replace('"m:Good")', '"m:Good", summary=None)'), "component 'good': summary is NoneType, not text"),
        (GOOD.replace('"m:Good")', '"m:Good", inject={"x": "modle"})'), "unknown run value 'modle' of inject of loss"),
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
    plugin = load_beside_good(text, tmp_path)
    assert plugin.status == "failed"
    assert plugin.components == ()
    assert plugin.error is not None
    assert error in plugin.error
    assert "\n" not in plugin.error
    assert plugin.details is not None
    assert "Traceback" in plugin.details


def test_control_c_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        load_beside_good("raise KeyboardInterrupt", tmp_path)
    assert caught.value.__notes__ == ["while plugin 'mine' was loaded"]


def test_output_of_a_plugin_at_import_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_beside_good(GOOD + "print('hello')", tmp_path).status == "ok"
    assert capsys.readouterr() == ("", "hello\n")


def test_a_failed_plugin_file_is_imported_again(tmp_path: Path) -> None:
    assert load_beside_good("x = 1 / 0", tmp_path).status == "failed"
    assert load_beside_good(GOOD, tmp_path).status == "ok"


def test_names_of_builtin_plugins_cannot_be_taken(install: Install) -> None:
    """Plugins of wf are loaded first, whatever the names of the others."""
    clock = "from wf import Kind, hookimpl\n@hookimpl\ndef wf_kinds(): return [Kind(name='clock')]\n"
    install("a-stranger", main=clock)
    install("wf-losses", main=clock)
    stranger, ours = discover()
    forget("wf-losses")
    assert (stranger.status, ours.status) == ("failed", "ok")
    assert "kind 'clock' is declared by wf-losses" in str(stranger.error)


def test_broken_entry_points_harm_no_other(install: Install) -> None:
    install("a-broken", main="import nowhere")
    install("b-good", main=GOOD)
    install("c-exit", main="raise SystemExit('bye')")
    broken, good, left = discover()
    assert [(plugin.name, plugin.status) for plugin in (broken, good, left)] == [
        ("a-broken", "failed"),
        ("b-good", "ok"),
        ("c-exit", "failed"),
    ]
    assert broken.entry_point == "main = a_broken_of_test.main"
    assert (broken.fix, good.fix) == ("tell its author: a-broken does not require the package that has nowhere", None)
    assert left.fix == "pip install --upgrade c-exit, or tell its author"


@pytest.mark.parametrize(
    ("missing", "requires", "package"),
    [
        ("no_where", ("other", "No-Where[extra]>=2; python_version > '3'"), "No-Where"),
        ("cv2", (), "opencv-python"),
        ("cv2", ("click", "my-cv2>=2", "no-cv2; extra == 'more'", "not a requirement"), "my-cv2"),
        ("nowhere", ("one-of", "these"), "one-of these"),
    ],
)
def test_the_fix_names_the_distribution(
    install: Install, missing: str, requires: tuple[str, ...], package: str
) -> None:
    install("broken", requires, main=f"import {missing}.deep")
    (plugin,) = discover()
    assert plugin.fix == f"pip install {package}"


def test_the_fix_of_a_distribution_whose_package_is_gone(install: Install, tmp_path: Path) -> None:
    install("Moved", ("click",), main=GOOD, more=GOOD)
    (tmp_path / "site" / "moved_of_test").rename(tmp_path / "elsewhere")
    importlib.invalidate_caches()
    assert [plugin.fix for plugin in discover()] == ["pip install --force-reinstall Moved"] * 2


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("broken_of_test.losses:Huber", None),
        ("broken_of_test.losses:Huber.make", None),
        ("broken_of_test.losses:Hubber", "broken_of_test.losses has no Hubber; did you mean Huber?"),
        ("broken_of_test.loses:Huber", "there is no module broken_of_test.loses"),
        ("nowhere.losses:Huber", None),  # of another package: checked when it is used
        ("torch.nn:NoSuchLoss", None),
    ],
)
def test_a_target_that_does_not_exist(install: Install, target: str, error: str | None) -> None:
    install("broken", main=GOOD.replace("m:Good", target), losses="class Huber: pass\n")
    (plugin,) = discover()
    assert plugin.error == (error and f"PluginError: target '{target}' is not there: {error}")


@pytest.mark.parametrize("text", ["from elsewhere import *", "def __getattr__(name): ...", "globals()['A' + 'B'] = 1"])
def test_a_target_in_a_dynamic_module_is_not_checked(install: Install, text: str) -> None:
    install("dynamic", main=GOOD.replace("m:Good", "dynamic_of_test.losses:Huber"), losses=text)
    assert discover()[0].status == "ok"


def test_components_of_an_unloaded_plugin_are_read_from_its_source(install: Install) -> None:
    declares = "Component('loss', 'a', 'm:A', aliases=('b', \"c\")), Component(kind='model', name=\"d\", target='m:D')"
    declares += ", Catalogue('model', prefix='zoo', target='m:make')"
    install("broken", main=f"import nowhere\nx = [{declares}, Component(kind, 'e', 'm:E')]\ndef (")
    names = (("loss", "a"), ("loss", "b"), ("loss", "c"), ("model", "d"), ("model", "zoo/*"))
    assert discover()[0].promised == names
    install("good", main=GOOD)
    assert discover()[1].promised == ()
    assert discover(Selection.parse(["no:good"]))[1].promised == (("loss", "good"),)


def test_functions_that_are_named_like_a_hook_and_not_marked(install: Install) -> None:
    install("forgetful", main=GOOD + "def wf_component(): ...\ndef wf_other(): ...\nwf_components_ = 3\n")
    assert discover()[0].unmarked == ("wf_component",)


def test_heavy_imports_of_a_declaration_are_reported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    install("heavy", main="import sys, types\nsys.modules['sklearn'] = types.ModuleType('sklearn')\n" + GOOD)
    assert discover()[0].pulled_in == ("sklearn",)
    del sys.modules["sklearn"]


def test_a_module_registered_twice_is_an_error(install: Install, tmp_path: Path) -> None:
    install("first", main=GOOD)
    install("second", main=GOOD)
    points = tmp_path / "site" / "second-1.0.dist-info" / "entry_points.txt"
    points.write_text("[wf.plugins]\nmain = first_of_test.main\n")
    first, second = discover()
    assert (first.status, second.status) == ("ok", "failed")
    assert second.error == "PluginError: 'second' is loaded already, as plugin 'first'"


@pytest.mark.parametrize("content", [b"[wf.plugins]\nmain\n", b"\xff\xfe"])
def test_damaged_entry_points_harm_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    for name, points in {"damaged": content, "other": b"[of.others]\nmain\n"}.items():
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_bytes(points)
    monkeypatch.syspath_prepend(tmp_path)
    found = {plugin.name: plugin for plugin in discover()}
    assert found["wf-losses"].status == "ok"
    assert "other" not in found
    assert (found["damaged"].status, found["damaged"].version) == ("failed", "1.0")
    assert "DamagedMetadataError: its entry points cannot be read: " in str(found["damaged"].error)
    assert found["damaged"].fix == "pip install --force-reinstall damaged"
    assert [plugin.status for plugin in discover(Selection.parse(["no:damaged"])) if plugin.name == "damaged"] == [
        "blocked"
    ]


def test_undecodable_metadata_gives_unknown_name_and_version(install: Install, tmp_path: Path) -> None:
    install("nameless", main=GOOD)
    (tmp_path / "site" / "nameless-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\n")
    (plugin,) = discover()
    assert (plugin.name, plugin.version, plugin.status) == ("unknown", "unknown", "ok")


def test_an_entry_point_to_a_class(install: Install, tmp_path: Path) -> None:
    install("odd", main="from wf import hookimpl\nclass Mine:\n  @hookimpl\n  def wf_components(self): return []\n")
    points = tmp_path / "site" / "odd-1.0.dist-info" / "entry_points.txt"
    points.write_text("[wf.plugins]\nmain = odd_of_test.main:Mine\n")
    (plugin,) = discover()
    assert plugin.error == "PluginError: Mine is a class; point the entry point at an instance of it"


def test_an_entry_point_that_is_no_module(install: Install, tmp_path: Path) -> None:
    install("odd", main=GOOD)
    (tmp_path / "site" / "odd-1.0.dist-info" / "entry_points.txt").write_text("[wf.plugins]\nmain = not a module!\n")
    (plugin,) = discover()
    assert (plugin.status, plugin.entry_point) == ("failed", "main = not a module!")
    assert plugin.error == (
        "PluginError: its entry point 'main = not a module!' is not of the form module or module:attr"
    )


@pytest.mark.parametrize("line", ["[wf.plugins", "wf.plugins]", "[wf.plugins ]"])
def test_entry_points_whose_section_is_written_wrongly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (info := tmp_path / "odd-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Name: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"{line}\nmain = odd.plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {plugin.name: plugin for plugin in discover()}
    assert (found["odd"].status, found["wf-losses"].status) == ("failed", "ok")
    assert f"cannot be read: '{line}' is written for the section [wf.plugins]" in str(found["odd"].error)


# The version contract


@pytest.mark.parametrize(
    ("requirement", "supported"),
    [
        ("wf-core", None),
        ("wf-core[torch]>=0.1,<0.2", None),
        ("WF_Core (>=0.1)", None),
        ("wf-core[torch]>=7", ">=7"),
        ("wf-core<0.1,>=0.0.1", ">=0.0.1,<0.1"),
        ("wf-core>=7; extra == 'new'", None),
        ("wf-core>=7; python_version < '3'", None),
        ("wf-core-tools>=7", None),
        ("wf-core @ https://host.invalid/wf.whl", None),
        ("wf-core is not a requirement", None),
    ],
)
def test_the_supported_range_of_wf(install: Install, requirement: str, supported: str | None) -> None:
    install("theirs", ("click", requirement), main="raise RuntimeError('imported!')" if supported else GOOD)
    (plugin,) = discover()
    assert plugin.status == ("incompatible" if supported else "ok")
    if supported:
        assert plugin.error == f"it supports wf-core {supported}, and 0.1.0 is installed"
        assert "pip install --upgrade theirs" in str(plugin.fix)


# Names and selection


def test_a_plugin_is_known_by_its_distribution(install: Install) -> None:
    install("My_Losses", main=GOOD, more=GOOD)
    install("other", main=GOOD)
    found = discover()
    assert [plugin.name for plugin in found] == ["my-losses", "my-losses[more]", "other"]
    assert (found[0].distribution, found[0].version, found[0].module) == ("My_Losses", "1.0", "my_losses_of_test.main")
    assert found[0].import_ms >= 0


@pytest.mark.parametrize("name", ["my-losses", "My_Losses", "my.losses"])
def test_a_blocked_plugin_is_listed_and_not_imported(install: Install, name: str) -> None:
    install("My_Losses", main="raise RuntimeError('imported!')")
    install("other", main=GOOD)
    blocked, other = discover(Selection.parse([f"no:{name}"]))
    assert (blocked.status, blocked.error, other.status) == ("blocked", "left out by -p no:my-losses", "ok")


def allowing(*names: str, place: str = "here") -> AllowList:
    return AllowList(names, place)


@pytest.mark.parametrize(
    ("lists", "error"),
    [
        ((), None),
        ((allowing("my-losses"),), None),
        ((allowing("nobody", "My.Losses"),), None),
        ((allowing("my-*"), allowing("*")), None),
        ((allowing("other"),), "not in the allow-list of here"),
        ((allowing("my"),), "not in the allow-list of here"),
        ((allowing(),), "not in the allow-list of here, which is empty"),
        ((allowing("builtin"),), "not in the allow-list of here"),
        ((allowing("my-losses"), allowing("x", place="there")), "not in the allow-list of there"),
        ((allowing("y"), allowing("x", place="there")), "not in the allow-list of here and there"),
    ],
)
def test_the_allow_list_is_checked_before_importing(
    install: Install, lists: tuple[AllowList, ...], error: str | None
) -> None:
    install("My_Losses", main="raise RuntimeError('imported!')" if error else GOOD)
    (plugin,) = discover(Selection(allow=lists))
    assert (plugin.status, plugin.error) == ("blocked" if error else "ok", error)


def test_builtin_in_an_allow_list_means_the_plugins_of_wf(install: Install) -> None:
    install("wf-losses", main=GOOD)
    install("stranger", main="raise RuntimeError('imported!')")
    assert [plugin.status for plugin in discover(Selection(allow=(allowing("builtin"),)))] == ["blocked", "ok"]


def test_plugins_named_on_the_command_line_need_no_allow_list(install: Install, tmp_path: Path) -> None:
    install("theirs", main=GOOD)
    (tmp_path / "mine.py").write_text(GOOD)
    names = (str(tmp_path / "mine.py"), "theirs_of_test.main")
    found = discover(Selection(extra=names, allow=(allowing("nobody"),)))
    assert [(plugin.name, plugin.status) for plugin in found] == [("mine", "ok"), ("theirs", "ok")]


def test_blocking_an_unknown_plugin_is_refused(install: Install) -> None:
    install("my-losses", main=GOOD)
    with pytest.raises(UsageError, match="unknown plugin in -p no: 'my-loss'\n  did you mean 'my-losses'"):
        discover(Selection.parse(["no:my-loss"]))


def test_autoload_can_be_turned_off(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install("my-losses", main="raise RuntimeError('imported!')")
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "good.py").write_text(GOOD)
    found = discover(Selection.parse([str(tmp_path / "good.py"), "no:my-losses"]))
    assert [(plugin.name, plugin.status) for plugin in found] == [("good", "ok")]


@pytest.mark.parametrize("value", ["", "0"])
def test_autoload_is_on_for_an_empty_or_zero_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", value)
    assert Selection.parse([]).autoload


def test_only_builtin_loads_the_plugins_of_wf_alone(install: Install, tmp_path: Path) -> None:
    assert "wf-losses" in builtin_distributions()
    origin = importlib.metadata.distribution("wf-losses").read_text("direct_url.json") or ""
    install("WF.losses", main=GOOD)  # only the name, which anybody may register on an index
    install("stranger", main="raise RuntimeError('imported!')")
    only_builtin = Selection.parse(["no:stranger"], only_builtin=True)
    assert discover(only_builtin) == []
    (tmp_path / "site" / "WF.losses-1.0.dist-info" / "direct_url.json").write_text(origin)
    assert [plugin.name for plugin in discover(only_builtin)] == ["wf-losses"]


def test_normalize() -> None:
    assert normalize("My__Losses.-x") == "my-losses-x"


# -p


def test_plugin_given_by_module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        "ModuleNotFoundError: No module named 'nowhere'",
    )


def test_plugin_file_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "losses.py").touch()
    with pytest.raises(UsageError, match=r"there is no such file\n  did you mean .*/losses\.py"):
        discover(Selection(extra=(f"{tmp_path}/loses.py",), autoload=False))


def test_the_same_plugin_named_twice_is_one(tmp_path: Path, install: Install) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    file = str(tmp_path / "good.py")
    names = (file, file, f"{tmp_path}/../{tmp_path.name}/good.py")
    assert [plugin.status for plugin in discover(Selection(extra=names, autoload=False))] == ["ok"]
    install("theirs", main=GOOD)
    assert [plugin.name for plugin in discover(Selection(extra=("theirs_of_test.main",)))] == ["theirs"]


def test_files_of_the_same_name(tmp_path: Path) -> None:
    files = [tmp_path / folder / "good.py" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text(GOOD)
    found = discover(Selection(extra=tuple(map(str, files)), autoload=False))
    assert [(plugin.name, plugin.status) for plugin in found] == [("good", "ok"), (f"good[{files[1]}]", "ok")]


def test_a_file_is_imported_by_its_path(tmp_path: Path) -> None:
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


def test_hints_for_missing_modules_suggest_no_unknown_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "plug.py"
    file.write_text("import utils_of_mine.deep\n")
    error = ModuleNotFoundError("No module named 'utils_of_mine'", name="utils_of_mine.deep")
    for of in (str(file), "package.module", ""):
        assert "looked for" in explain(error, of)
        assert "pip" not in explain(error, of)
    for place in (tmp_path, tmp_path / "here"):
        (place / "utils_of_mine.py").write_text("")
        assert f"set PYTHONPATH={place}: utils_of_mine.py lies there" in explain(error, str(file))
        (place / "utils_of_mine.py").unlink()
    assert explain(ModuleNotFoundError(name="cv2")).endswith("(try: pip install opencv-python)")


@pytest.mark.parametrize(
    ("core", "losses", "same"),
    [
        (("file:///w/corelib", "dir_info"), ("file:///w/plugins/losses", "dir_info"), True),
        (("file:///w/corelib", "dir_info"), ("file:///other/plugins/losses", "dir_info"), False),
        (("file:///w/corelib", "dir_info"), ("file:///w/clone/wf-losses", "dir_info"), False),
        (("file:///w/corelib", "dir_info"), None, False),  # from the index
        (("file:///w/dist/wf_core.whl", "archive_info"), ("file:///w/dist/wf_losses.whl", "archive_info"), True),
        (("file:///w/dist/wf_core.whl", "archive_info"), ("file:///tmp/wf_losses.whl", "archive_info"), False),
        (("file:///w/dist/wf_core.whl", "archive_info"), None, False),
        (("https://x.org/wf", "vcs_info"), ("https://x.org/wf", "vcs_info"), True),
        (("https://x.org/wf", "vcs_info"), ("https://x.org/fork", "vcs_info"), False),
        (None, None, True),
        (None, ("file:///w/plugins/losses", "dir_info"), False),
        (("file:///w/corelib", "dir_info"), ("damaged", ""), False),
    ],
)
def test_builtin_distributions_share_the_origin_of_wf_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, core: Any, losses: Any, same: bool
) -> None:
    for name, origin in {"wf-core": core, "wf-losses": losses, "wf-losses2": core}.items():
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        requires = "Requires-Dist: wf-losses; extra == 'builtin'\n" if name == "wf-core" else ""
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{requires}")
        if origin:
            url, info = origin
            text = json.dumps({"url": url, info: {"commit_id": "1"}}) if info else "{"
            (folder / "direct_url.json").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert builtin_distributions() == ({"wf-losses"} if same else set())


def test_install_hints_for_wf_distributions_use_the_checkout() -> None:
    assert how_to_install("wf_losses", "--upgrade") == "pip install --upgrade ./plugins/losses in a checkout of wf"
    assert "./corelib" in how_to_install("wf-core", "--force-reinstall")
    assert how_to_install("acme", "--upgrade") == "pip install --upgrade acme"


PLAIN = ("0.1", "0.1.0", "0.2", "0.10", "1", "1.0.1", "0")


@pytest.mark.parametrize("version", [*PLAIN, "0.2.0.dev1", "1.0rc1"])
def test_version_ranges_are_read_as_packaging_reads_them(version: str) -> None:
    ranges = [f">={low},<{high}" for low in PLAIN for high in PLAIN]
    for allowed in [*ranges, *(f"<{one}" for one in PLAIN), *(f">={one}" for one in PLAIN), "~=0.1", ">=0.1,!=0.1.0"]:
        expected = SpecifierSet(allowed).contains(version, prereleases=True)
        assert is_within(version, allowed) == expected, allowed
        for text in (f"wf-core{allowed}", f"wf-core[torch] {allowed}", f"wf-core[torch]{allowed.replace(',', ', ')}"):
            assert (unsupported_core([text], version) is None) == expected, text
    assert unsupported_core(["wf-core[torch]<0.1; python_version < '3'", "wf-core-extra<0.1"], version) is None
