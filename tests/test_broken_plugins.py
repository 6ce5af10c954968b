"""Real broken packages, all installed at once: each is reported, and none affects commands that do not need it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from broken_plugins import BROKEN, BrokenPlugin
from environment import Environment
from forkserver import ForkServer, Result
from workspace import FOLDERS, PLUGINS

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("wheels"), pytest.mark.timeout(300)]

TRAIN = ("run", "--dataset", "iris", "--model", "linear", "--epochs", "1", "--quiet")
TRY = (*TRAIN, "--dry-run")
FAILED = [broken for broken in BROKEN if broken.status != "ok"]
NOT_LOADED = [broken for broken in FAILED if broken.would_bring]
BESIDE_IT = "beside-it"
"""A loss that works, of a plugin that has another one whose module is broken."""
RAISES = "broken_raises.plugin"
OF_FOCAL = {"wf_losses.plugin", "wf_losses.focal", "wf_losses.common"}

Settle = Callable[..., None]


@dataclass
class Installed:
    """An environment with wf and every broken plugin, and a server of quick runs in it."""

    environment: Environment
    server: ForkServer


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("broken")
    environment = Environment(folder / "venv")
    environment.install(*(wheels[name] for name in FOLDERS), *(broken.build(folder) for broken in BROKEN))
    server = ForkServer(environment.python)
    yield Installed(environment, server)
    server.close()


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """A process's environment without the user's settings."""
    plain = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "COLUMNS": "200", "TERM": "dumb"}
    return {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **plain, **more}


class RunWf:
    """Runs `wf` in that environment, in the working directory of the test."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self.installed, self.folder = installed, folder
        self.log = folder / "imports"

    def __call__(self, *args: str, **env: str) -> Result:
        """In a fork of a process that has imported torch."""
        return self.installed.server.run(args, self.folder, self._environment(env), 60)

    def process(self, *args: str, **env: str) -> Result:
        """In a new process, as a user starts it."""
        script = self.installed.environment.folder / "bin" / "wf"
        done = subprocess.run(
            [script, *args], cwd=self.folder, env=self._environment(env), capture_output=True, text=True
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def imported(self, *args: str, **env: str) -> set[str]:
        """The modules of broken plugins that a successful run imports."""
        self.log.unlink(missing_ok=True)
        result = self(*args, **env)
        assert result.code == 0, result.stderr
        return set(self.log.read_text().split()) if self.log.exists() else set()

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return surroundings(self.folder, WF_TEST_IMPORTS=str(self.log), **more)


@pytest.fixture
def run_wf(installed: Installed, tmp_path: Path) -> RunWf:
    return RunWf(installed, tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Settle:
    return lambda text: (tmp_path / "pyproject.toml").write_text(text)


@pytest.fixture
def user(tmp_path: Path) -> Settle:
    file = tmp_path / "config" / "wf" / "settings.toml"
    file.parent.mkdir(parents=True)
    return lambda text: file.write_text(text)


def last_message(result: Result) -> str:
    """The message after the warnings."""
    return re.split(r"^wf: (?!warning)", result.stderr, flags=re.MULTILINE)[-1]


# Quarantine


@pytest.fixture(scope="module")
def listed(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The plugins listed by a new process, by name; valid JSON shows that no plugin printed into it."""
    result = RunWf(installed, tmp_path_factory.mktemp("listed")).process("list-plugins", "--json")
    assert result.code == 0, result.stderr
    assert "welcome to my losses" in result.stderr
    return {plugin["name"]: plugin for plugin in json.loads(result.stdout)}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.id)
def test_each_broken_plugin_is_listed_with_its_error_and_fix(broken: BrokenPlugin, listed: dict[str, Any]) -> None:
    found = listed[broken.name]
    assert (found["distribution"], found["version"], found["status"]) == (broken.name, "1.0", broken.status)
    assert found["entry_point"].startswith("main = ")
    assert broken.error in (found["error"] or "")
    assert (found["fix"] or "") == broken.fix.replace("NAME", broken.name)
    assert bool(found["error"]) == bool(found["fix"]) == (broken.status != "ok") == (not found["components"])


def test_no_other_plugin_is_listed(listed: dict[str, Any]) -> None:
    assert set(listed) == {*PLUGINS, *(broken.name for broken in BROKEN), "broken-one-of-two[more]"}
    half = listed["broken-one-of-two[more]"]
    assert (half["status"], half["error"], half["entry_point"]) == (
        "failed",
        "RuntimeError: half",
        "more = broken_one_of_two.more",
    )
    assert half["fix"] == "pip install --upgrade broken-one-of-two, or tell its author"


def test_status_and_fix_are_listed_for_reading(run_wf: RunWf) -> None:
    result = run_wf("list-plugins")
    assert result.code == 0
    for broken in FAILED:
        assert f"\n{broken.name}  1.0  {broken.status}\n" in f"\n{result.stdout}"
        assert f"try          {broken.fix.replace('NAME', broken.name)}" in result.stdout


@pytest.mark.parametrize("args", [("--help",), ("list",), ("list", "losses", "--json"), ("show", "ce"), ("run", "-h")])
def test_commands_that_need_no_broken_plugin_work(run_wf: RunWf, args: tuple[str, ...]) -> None:
    result = run_wf(*args)
    assert result.code == 0, result.stderr
    assert result.stdout


def test_training_works_beside_broken_plugins(run_wf: RunWf) -> None:
    result = run_wf.process(*TRAIN, "--loss", "ce", "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["status"] == "done"
    for broken in FAILED:
        assert f"wf: warning: plugin '{broken.name}' " in result.stderr
        assert f"or disable it: -p no:{broken.name}\n" in result.stderr


@pytest.mark.parametrize("broken", NOT_LOADED, ids=lambda broken: broken.id)
@pytest.mark.parametrize("verb", [(*TRY, "--loss"), ("show", "loss")], ids=["run", "show"])
def test_components_of_a_broken_plugin_name_the_plugin(
    run_wf: RunWf, broken: BrokenPlugin, verb: tuple[str, ...]
) -> None:
    result = run_wf(*verb, broken.would_bring)
    assert result.code == 3, result.stderr
    message = last_message(result)
    head = f"loss '{broken.would_bring}' is brought by {broken.name}, which is not loaded ({broken.status})\n"
    assert message.startswith(head)
    assert broken.error in message
    assert f"\n  try: {broken.fix.replace('NAME', broken.name)}" in message


@pytest.mark.parametrize("broken", [broken for broken in BROKEN if broken.on_use], ids=lambda broken: broken.id)
def test_a_component_that_cannot_be_imported(run_wf: RunWf, broken: BrokenPlugin) -> None:
    result = run_wf(*TRY, "--loss", broken.would_bring)
    assert result.code == 3, result.stderr
    assert broken.on_use in last_message(result)


def test_a_broken_plugin_named_as_the_provider(run_wf: RunWf) -> None:
    result = run_wf(*TRY, "--loss", "lost-raises@broken-raises")
    assert (result.code, "RuntimeError: no licence found" in last_message(result)) == (3, True)


def test_an_unknown_name_mentions_the_plugins_that_are_not_loaded(run_wf: RunWf) -> None:
    result = run_wf(*TRY, "--loss", "lost-no-module")
    assert result.code == 2
    assert "it may be in a plugin that is not loaded: " in last_message(result)
    assert "broken-no-module (failed)" in last_message(result)


@pytest.mark.parametrize("args", [("list",), ("list-plugins",), ("show", "ce"), (*TRY, "--loss", "ce"), ("run", "-h")])
def test_strict_exits_with_code_3_and_names_each_plugin(run_wf: RunWf, args: tuple[str, ...]) -> None:
    result = run_wf(*args, "--strict")
    assert result.code == 3, result.stdout + result.stderr
    assert [broken.name for broken in FAILED if f"plugin '{broken.name}' " not in last_message(result)] == []
    assert run_wf(*args, "--strict", "--only-builtin").code == 0


def test_traceback_shows_whole_tracebacks(run_wf: RunWf) -> None:
    for verb in ("list-plugins", "list"):
        result = run_wf(verb, "--traceback")
        assert result.code == 0
        raised = [broken for broken in FAILED if broken.status == "failed"]
        assert result.stderr.count("Traceback (most recent call last):") >= len(raised)
        assert "raise RuntimeError('no licence found')" in result.stderr
    assert "Traceback" not in run_wf("list").stderr


# Trust: excluded plugins leave no trace


def test_every_other_plugin_is_imported(run_wf: RunWf) -> None:
    """Plugins leave the traces that the tests below look for."""
    found = run_wf.imported("list-plugins")
    assert RAISES in found
    assert not [name for name in found if name.startswith("broken_too_new")], "excluded by its metadata"


def test_excluded_plugins_are_not_imported(run_wf: RunWf) -> None:
    found = run_wf.imported("list-plugins", "-p", "no:broken-raises", "-p", "no:broken_one_of_two")
    assert not [name for name in found if name.startswith(("broken_raises.", "broken_one_of_two"))]
    assert "broken_syntax" in found
    result = run_wf(*TRY, "--loss", "lost-raises", "-p", "no:broken-raises")
    assert result.code == 3
    assert "which is not loaded (blocked)\n  left out by -p no:broken-raises" in last_message(result)


ALLOW = ["builtin", "broken-target-import"]


@pytest.mark.parametrize("place", ["environment", "project", "user", "all"])
def test_plugins_outside_the_allow_list_are_not_imported(
    run_wf: RunWf, project: Settle, user: Settle, place: str
) -> None:
    env = {}
    if place in ("environment", "all"):
        env["WF_PLUGINS_ALLOW"] = ",".join(ALLOW)
    if place in ("project", "all"):
        project(f"[tool.wf]\nallow = {json.dumps(['builtin', 'broken-*'] if place == 'all' else ALLOW)}\n")
    if place in ("user", "all"):
        user(f"allow = {json.dumps(['*'] if place == 'all' else ALLOW)}\n")
    assert run_wf.imported("list-plugins", **env) == {"broken_target_import", "broken_target_import.plugin"}
    plugins = {plugin["name"]: plugin for plugin in run_wf("list-plugins", "--json", **env).json()}
    assert {name for name, plugin in plugins.items() if plugin["status"] == "ok"} == {*PLUGINS, "broken-target-import"}
    raises = plugins["broken-raises"]
    assert (raises["status"], raises["components"]) == ("blocked", [])
    assert raises["error"].startswith("not in the allow-list of ")
    assert run_wf(*TRY, "--loss", BESIDE_IT, "--strict", **env).code == 0, "a blocked plugin has not failed"


@pytest.mark.parametrize("args", [("--only-builtin",), ("WF_DISABLE_PLUGIN_AUTOLOAD",)])
def test_no_third_party_module_is_imported_without_autoload(run_wf: RunWf, args: tuple[str, ...]) -> None:
    env = {name: "1" for name in args if name.isupper()}
    line = ("list-plugins", *(arg for arg in args if not arg.isupper()))
    assert run_wf.imported(*line, **env) == set()


def test_only_modules_of_the_used_components_are_imported(run_wf: RunWf) -> None:
    assert "broken_target_import.losses" not in run_wf.imported("list", "--all")
    found = run_wf.imported(*TRY, "--loss", BESIDE_IT)
    used = {"broken_target_import", "broken_target_import.plugin", "broken_target_import.losses"}
    assert {name for name in found if name.startswith("broken_target_import")} == used
    assert not [name for name in found - used if name.endswith(".losses")]


def test_only_modules_of_the_used_builtin_components_are_imported(run_wf: RunWf, installed: Installed) -> None:
    line = [*TRY, "--loss", "focal", "--only-builtin"]
    code = f"""
import sys
from wf_cli.main import main
try: main({line!r})
except SystemExit as stop: assert not stop.code, stop.code
print("MODULES", *sys.modules)
"""
    done = subprocess.run(
        [installed.environment.python, "-c", code],
        cwd=run_wf.folder,
        env=surroundings(run_wf.folder),
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(done.stdout.rpartition("MODULES ")[2].split())
    assert {name for name in found if name.startswith("wf_losses.")} == OF_FOCAL
    assert {"wf_models.plugin", "wf_datasets.plugin", "wf_tracking.plugin"} <= found
    assert not {"torchvision", "tensorboard", "matplotlib"} & found


# Collisions


def test_both_providers_of_a_name_are_listed(run_wf: RunWf) -> None:
    providers = [entry["plugin"] for entry in run_wf("list", "losses", "--json").json() if entry["name"] == "focal"]
    assert providers == ["broken-takes-builtin", "wf-losses"]


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("focal", "focal@broken-takes-builtin or focal@wf-losses"),
        ("tempered", "tempered@broken-takes-alias or tempered@broken-takes-strangers"),
        ("mae", "mae@broken-takes-alias or l1@wf-losses"),
    ],
)
def test_a_name_of_two_plugins_needs_its_provider(run_wf: RunWf, name: str, choices: str) -> None:
    result = run_wf(*TRY, "--loss", name)
    assert result.code == 2
    assert f"loss '{name}' comes from 2 plugins\n  say which one: {choices}\n" in last_message(result)
    for choice in choices.split(" or "):
        provider = choice.partition("@")[2]
        shown = run_wf("show", "loss", f"{name}@{provider}", "--json").json()
        assert (shown["name"], shown["plugin"]) == tuple(choice.split("@"))


def test_a_unique_alias_of_a_shared_name_is_unambiguous(run_wf: RunWf) -> None:
    assert run_wf("show", "loss", "focal-loss", "--json").json()["plugin"] == "wf-losses"


def test_either_provider_of_a_name_can_be_run(run_wf: RunWf) -> None:
    assert run_wf(*TRY, "--loss", "focal@broken-takes-builtin", "--loss.temperature", "2").code == 0
    assert run_wf(*TRY, "--loss", "focal@wf-losses", "--loss.gamma", "1").code == 0


def test_pins_choose_the_provider(run_wf: RunWf, project: Settle, user: Settle) -> None:
    def provider(name: str = "focal") -> str:
        result = run_wf("show", "loss", name, "--json")
        return str(result.json()["plugin"]) if result.code == 0 else last_message(result)

    user('[pin.loss]\nfocal = "broken-takes-builtin"\ntempered = "broken_takes_alias"\n')
    assert provider() == "broken-takes-builtin"
    project('[tool.wf.pin.loss]\nfocal = "wf-losses"\n')
    assert (provider(), provider("tempered")) == ("wf-losses", "broken-takes-alias")
    assert provider("focal@broken-takes-builtin") == "broken-takes-builtin"
    project('[tool.wf.pin.loss]\nfocal = "wf-metrics"\n')
    assert "loss 'focal' is pinned to wf-metrics, which does not bring it\n  the pin stands in " in provider()
    assert "available: focal@broken-takes-builtin or focal@wf-losses" in provider()
    project('[tool.wf.pin.loss]\nfocal = "no-such-plugin"\n')
    assert "loss 'focal' is pinned to no-such-plugin, which does not bring it" in provider()


def test_a_pin_to_a_plugin_that_is_not_loaded(run_wf: RunWf, project: Settle) -> None:
    project('[tool.wf.pin.loss]\nlost-raises = "broken-raises"\n')
    result = run_wf(*TRY, "--loss", "lost-raises")
    assert (result.code, "is brought by broken-raises, which is not loaded" in last_message(result)) == (3, True)


def test_a_run_keeps_the_provider(run_wf: RunWf, project: Settle) -> None:
    """The run file names the provider, so resuming needs no pin, and another pin changes nothing."""
    project('[tool.wf.pin.loss]\nfocal = "broken-takes-builtin"\n')
    result = run_wf(*TRAIN, "--loss", "focal", "--name", "pinned")
    assert result.code == 0, result.stderr
    run_file = run_wf.folder / "runs" / "pinned" / "run.toml"
    assert 'use = "focal@broken-takes-builtin"' in run_file.read_text()
    manifest = json.loads((run_wf.folder / "runs" / "pinned" / "manifest.json").read_text())
    (loss,) = [component for component in manifest["components"] if component["kind"] == "loss"]
    assert (loss["distribution"], loss["version"]) == ("broken-takes-builtin", "1.0")
    project('[tool.wf.pin.loss]\nfocal = "wf-losses"\n')
    resumed = run_wf("resume", "pinned", "--epochs", "2", "--quiet")
    assert resumed.code == 0, resumed.stderr
    again = run_wf("run", str(run_file), "--name", "again", "--quiet")
    assert again.code == 0, again.stderr
    assert (run_wf.folder / "runs" / "again" / "run.toml").read_text() == run_file.read_text()


# wf doctor


def test_doctor_finds_every_broken_plugin(run_wf: RunWf, project: Settle) -> None:
    project('[tool.wf.pin.loss]\nfocal = "wf-losses"\nce = "broken-raises"\n')
    second = run_wf.folder / "second.py"
    second.write_text("import torch\nfrom wf import hookimpl\n@hookimpl\ndef wf_components(): return []\n")
    result = run_wf.process("doctor", "--json", "-p", str(second))
    assert result.code == 1, result.stderr
    findings = result.json()

    def findings_of(check: str, level: str) -> dict[str, str]:
        found = [finding for finding in findings if (finding["check"], finding["level"]) == (check, level)]
        return {finding["subject"]: f"{finding['message']} try: {finding['fix']}" for finding in found}

    failed = findings_of("plugin", "problem")
    assert set(failed) == {*(broken.name for broken in FAILED), "broken-one-of-two[more]"}
    for broken in FAILED:
        assert f"1.0: {broken.status}: " in failed[broken.name]
        assert broken.error in failed[broken.name]
        assert f"try: {broken.fix.replace('NAME', broken.name)}" in failed[broken.name]
    heavy = findings_of("light-import", "note")
    assert set(heavy) >= {"broken-pulls-torch", "second"}, "also the plugin that found torch already imported"
    assert all(" and imports torch" in heavy[name] for name in ("broken-pulls-torch", "second"))
    assert set(findings_of("shared-name", "note")) == {"loss mae", "loss tempered"}
    assert set(findings_of("shared-name", "ok")) == {"loss focal"}
    assert "which is not loaded (failed); using it is an error" in findings_of("pin", "problem")["loss ce"]
