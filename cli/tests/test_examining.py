"""The findings of `wf doctor` about plugins and settings, each one provoked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from wf import Catalogue, Component, Link, Task
from wf.declarations.component import of_declaration
from wf.discovery.plugins import Plugin
from wf.discovery.settings import AllowList, Pin, Settings
from wf.registry import Registry
from wf.traits import LossTraits, MetricTraits
from wf_cli.doctor import examining
from wf_cli.doctor.surroundings import Finding

HERE = "wf.declarations.component:Component"


def plugin(name: str, *components: Component | Catalogue, **fields: Any) -> Plugin:
    fields = {"status": "ok", "version": "1", "module": f"{name}.plugin", "distribution": name, **fields}
    return Plugin(name=name, components=components, **fields)


def loss(name: str, target: str = HERE, **fields: Any) -> Component:
    return Component("loss", name, target, **fields)


PLUGINS = (
    plugin("ours", loss("focal", aliases=("focal-loss",)), loss("l1"), import_ms=1.25),
    plugin("theirs", loss("focal"), loss("tempered")),
    plugin("broken", status="failed", error="ImportError: no", fix="pip install x"),
    plugin("newer", status="incompatible", error="it supports wf-core >=7", fix="pip install --upgrade newer"),
    plugin("off", status="blocked", error="left out by -p no:off"),
)


def examined(settings: Settings | None = None, plugins: Iterable[Plugin] = PLUGINS) -> list[Finding]:
    settings = settings or Settings()
    return examining.examine(Registry(plugins, settings.pins), settings)


def findings_of(check: str, findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    return [(found.level, found.subject, found.message) for found in findings if found.check == check]


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("WF_DISABLE_PLUGIN_AUTOLOAD", raising=False)


def test_every_check_reports_ok_when_nothing_is_wrong() -> None:
    findings = examined(plugins=[plugin("ours", loss("l1"))])
    assert {found.level for found in findings} == {"ok"}
    surroundings = {"python", "wf", "torch", "accelerator", "data-folder", "runs-folder", "command"}
    assert {found.check for found in findings} == set(examining.CHECKS) - surroundings


def test_plugins() -> None:
    assert findings_of("plugin", examined()) == [
        ("ok", "ours", "1: 2 components, declared in 1.25 ms"),
        ("ok", "theirs", "1: 2 components, declared in 0 ms"),
        ("problem", "broken", "1: failed: ImportError: no"),
        ("problem", "newer", "1: incompatible: it supports wf-core >=7"),
        ("ok", "off", "1: blocked: left out by -p no:off"),
    ]
    assert [found.fix for found in examined() if found.subject == "broken"] == ["pip install x"]
    file = plugin("mine", loss("a"), version=None, distribution=None, module="./mine.py")
    assert findings_of("plugin", examined(plugins=[file])) == [("ok", "mine", "1 component, declared in 0 ms")]


def test_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WF_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert findings_of("settings", examined(Settings(files=(tmp_path / "settings.toml",)))) == [
        ("ok", str(tmp_path / "settings.toml"), "read"),
        ("note", "WF_DISABLE_PLUGIN_AUTOLOAD", "is set: only plugins given by -p are loaded"),
    ]
    found = examining.unreadable_settings(ValueError("bad\n  line"))
    assert (found.level, found.message) == ("problem", "bad line; no plugin was checked")


def test_heavy_and_slow_declarations() -> None:
    costs: dict[str, examining.Cost] = {"a": (("torch",), 900.0), "b": ((), 251.0), "c": ((), 249.0)}
    assert findings_of("light-import", examining.light_imports(costs)) == [
        ("note", "a", "declaring its components takes 900 ms and imports torch; every command waits for it"),
        ("note", "b", "declaring its components takes 251 ms; every command waits for it"),
    ]


def test_heavy_imports_are_found_for_each_plugin_separately(tmp_path: Path) -> None:
    """matplotlib stands for torch, which this process may have imported already."""
    text = "import {}\nfrom wf import hookimpl\n@hookimpl\ndef wf_components(): return []\n"
    files = {name: tmp_path / f"{name}.py" for name in ("first", "second", "third", "light")}
    for name, modules in zip(files, ("matplotlib", "matplotlib, scipy", "scipy", "json"), strict=True):
        files[name].write_text(text.format(modules))
    found = [plugin(name, module=str(file), distribution=None) for name, file in files.items()]
    seen = [dataclasses.replace(found[0], pulled_in=("matplotlib",)), *found[1:]]
    costs, why = examining.declaration_costs(seen, [str(file) for file in files.values()], only_builtin=True)
    assert {name: "matplotlib" in modules for name, (modules, _) in costs.items() if name in files} == {
        "first": True,
        "second": True,
        "third": False,
        "light": False,
    }
    assert "scipy" in costs["third"][0]
    assert (list(costs["light"][0]), why) == ([], "")


def test_declarations_that_fail_when_loaded_again(tmp_path: Path) -> None:
    """For example one that ends the process when it is loaded without the others."""
    (tmp_path / "ends.py").write_text("import os\nos._exit(7)\n")
    heavy = plugin("heavy", module=str(tmp_path / "heavy.py"), distribution=None, pulled_in=("torch",), import_ms=900.0)
    (tmp_path / "heavy.py").touch()
    names = [str(tmp_path / "heavy.py"), str(tmp_path / "ends.py")]
    costs, why = examining.declaration_costs([heavy], names, only_builtin=True)
    assert why == "the process ended with code 7 without output"
    assert findings_of("light-import", examining.light_imports(costs, why)) == [
        ("note", "heavy", "declaring its components takes 900 ms and imports torch; every command waits for it"),
        ("note", "all", f"cannot check whether other plugins import the same modules: {why}"),
    ]


def test_functions_named_like_hooks_but_not_marked() -> None:
    forgetful = plugin("forgetful", loss("a"), unmarked=("wf_component",))
    assert findings_of("hook-mark", examined(plugins=[forgetful])) == [
        ("problem", "forgetful", "wf_component() is named like a hook but not marked, so it is never called")
    ]


def test_targets_that_do_not_exist() -> None:
    catalogue = Catalogue("model", "zoo", "wf.engine.cadence:make", "wf:py.typed")
    declares = (
        loss("a", "wf.engine.cadence:Epoch"),
        loss("b", "nowhere.deep:B"),
        loss("c", "torch.nn:MSELoss"),
        catalogue,
    )
    findings = examined(plugins=[plugin("ours", *declares, loss("live", len))])  # type: ignore[arg-type]  # an object
    assert findings_of("target", findings) == [
        ("problem", "ours",
         "target 'wf.engine.cadence:Epoch' of loss a does not exist: wf.engine.cadence has no Epoch; "
         "did you mean Epochs or check_epoch?"),
        ("problem", "ours", "target 'nowhere.deep:B' of loss b does not exist: there is no module nowhere.deep"),
        ("problem", "ours",
         "target 'wf.engine.cadence:make' of model zoo/* does not exist: wf.engine.cadence has no make"),
    ]  # fmt: skip
    fixes = [found.fix for found in findings if found.check == "target"]
    assert fixes == ["pip install --upgrade ours, or tell its author"] * 3
    file = plugin("mine", loss("a", "wf.engine.cadence:Epoch"), distribution=None, module="./mine.py")
    assert [found.fix for found in examined(plugins=[file]) if found.check == "target"] == ["fix ./mine.py"]


def test_names_of_several_plugins_are_noted() -> None:
    zoo = Catalogue("model", "zoo", "torch.nn:make", "wf:py.typed")
    plugins = [*PLUGINS, plugin("one", zoo), plugin("two", zoo)]
    findings = examined(plugins=plugins)
    assert findings_of("shared-name", findings) == [
        ("note", "loss focal", "comes from ours and theirs; the bare name is an error"),
        ("note", "model zoo/*", "comes from one and two; the bare name is an error"),
    ]
    assert [found.fix for found in findings if found.check == "shared-name"] == [
        'write focal@ours, or pin it: [tool.wf.pin.loss] focal = "ours"',
        "write zoo/NAME@one",
    ]
    settled = Settings(pins=(Pin("loss", "Focal", "Theirs", "settings.toml"),))
    assert findings_of("shared-name", examined(settled)) == [
        ("ok", "loss focal", "comes from ours and theirs; settings.toml decides: Theirs")
    ]
    orphaned = Settings(pins=(Pin("loss", "focal", "nobody", "settings.toml"),))
    assert findings_of("shared-name", examined(orphaned))[0][0] == "note"


def test_pins() -> None:
    pins = [("focal", "theirs"), ("l1", "theirs"), ("tempered", "broken"), ("focal-loss", "nobody"), ("x", "off")]
    settings = Settings(
        pins=(*(Pin("loss", name, to, "pyproject.toml") for name, to in pins), Pin("loss", "focal", "ours", "user"))
    )
    findings = examined(settings)
    assert findings_of("pin", findings) == [
        ("ok", "loss focal", "in pyproject.toml: theirs"),
        (
            "problem",
            "loss l1",
            "in pyproject.toml: pinned to theirs, which does not have it; using it is an error",
        ),
        (
            "problem",
            "loss tempered",
            "in pyproject.toml: pinned to broken, which is not loaded (failed); using it is an error",
        ),
        (
            "problem",
            "loss focal-loss",
            "in pyproject.toml: pinned to nobody, which is not installed; using it is an error",
        ),
        (
            "note",
            "loss x",
            "in pyproject.toml: pinned to off, which is not loaded (blocked); no other plugin has it",
        ),
        ("ok", "loss focal", "in user: ours, overridden by pyproject.toml"),
    ]
    fixes = [found.fix for found in findings if found.check == "pin"]
    assert fixes[1] == "pin it to ours, or remove the pin"


def test_settings_files_that_could_not_be_looked_up() -> None:
    assert findings_of("settings", examined(Settings(missed=("there is no home folder",)))) == [
        ("note", "settings", "there is no home folder")
    ]


def test_allow_lists() -> None:
    settings = Settings(allow=(AllowList(("ours", "th*", "tehirs", "builtin"), "WF_PLUGINS_ALLOW"),))
    assert findings_of("allow-list", examined(settings)) == [
        ("ok", "ours", "in WF_PLUGINS_ALLOW: allows ours"),
        ("ok", "th*", "in WF_PLUGINS_ALLOW: allows theirs"),
        ("note", "tehirs", "in WF_PLUGINS_ALLOW: no installed plugin has that name"),
        ("note", "builtin", "in WF_PLUGINS_ALLOW: no installed plugin has that name"),
    ]
    assert not findings_of("allow-list", examining.examine(Registry(PLUGINS), settings, only_builtin=True))
    assert findings_of("allow-list", examined(Settings(allow=(AllowList((), "pyproject.toml"),)))) == [
        ("problem", "empty", "in pyproject.toml: empty, so no installed plugin may load")
    ]


def test_forms_that_no_task_declares() -> None:
    traits = LossTraits(predictions="logitz", targets=("stars", "strs"))
    of_group = MetricTraits(predictions="shares", targets=("stars",))
    parts = (
        of_declaration(Task(name="rating", target="nowhere:A", targets=("stars",), reads=("raw",))),
        of_declaration(Link(name="as-scores", takes=("raw",), gives="logits")),
        loss("l1", traits=traits),
        Catalogue("metric", "zoo", HERE, "nowhere:names.txt", groups={"a": of_group}),
    )
    found = [one for one in examined(plugins=[plugin("ours", *parts)]) if one.check == "form"]
    assert [(one.level, one.subject, one.message, one.fix) for one in found] == [
        (
            "note",
            "ours",
            f"{who}: no installed task or link has {of} '{form}'",
            f"{fix}; or install the package that declares it",
        )
        for who, of, form, fix in (
            ("loss l1", "targets", "strs", "write 'stars'"),
            ("loss l1", "predictions", "logitz", "write 'logits'"),
            ("metric zoo/*", "predictions", "shares", "known: raw"),
        )
    ]
    alone = examined(plugins=[plugin("ours", loss("l1", traits=traits))])
    assert findings_of("form", alone) == [
        ("ok", "all", "every form in traits is known")
    ]  # without tasks no form is unknown
