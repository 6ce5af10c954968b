"""Commands belong to their distributions: wf-cli installs all of them, and each can be uninstalled."""

from __future__ import annotations

from pathlib import Path

import pytest
from environment import Environment
from workspace import FOLDERS, run_pip

from wf.registry import Registry

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("wheels"), pytest.mark.timeout(300)]


def test_pip_install_wf_cli_installs_every_command_and_each_can_be_removed(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "venv")
    found = str(next(iter(wheels.values())).parent)
    run_pip("install", "-q", "--no-index", "--find-links", found, "wf-cli", python=environment.python)
    brought = {plugin["distribution"] for plugin in environment.plugins().values()}  # wf-text is not one of them
    every = Registry.discover(only_builtin=True).entries("command")
    entries = [entry for entry in every if entry.distribution in brought]
    assert {plugin["status"] for plugin in environment.plugins().values()} == {"ok"}
    shown = environment.wf("--help")
    assert [entry.component.name for entry in entries if f"\n  {entry.component.name} " not in shown] == []

    for distribution in {entry.distribution for entry in entries} - {"wf-cli", "wf-run"}:
        run_pip("uninstall", "-y", "-q", distribution, python=environment.python)
        names = [entry.component.name for entry in entries if entry.distribution == distribution]
        shown = environment.wf("--help")
        assert names
        assert [name for name in names if f"\n  {name} " in shown] == []
        said = environment.wf(names[0], code=2)
        folder = FOLDERS[distribution]
        assert f"{distribution} provides it but is not installed: pip install ./{folder} in a checkout of wf" in said
    environment.install(*(wheels[name] for name in FOLDERS if name not in ("wf-cli", "wf-core", "wf-run")))
    assert "accuracy" in environment.wf("run", "--dataset", "iris", "--epochs", "1", "--quiet")

    run_pip("uninstall", "-y", "-q", "wf-run", python=environment.python)
    assert "wf-run provides it but is not installed" in environment.wf("run", code=2)
    said = environment.wf("list", "losses", code=2)
    assert (
        "kind 'losses' is declared by wf-run, which is not loaded\n  try: pip install ./plugins/run in a checkout"
        in said
    )
    assert said.count("could not be loaded") == 1, "one message for all plugins that need its kinds"
    broken = environment.wf("resume", "x", code=3)
    assert "command 'resume' is brought by wf-durability, which is not loaded" in broken
    assert "declared by wf-run, which is not loaded\n  try: pip install ./plugins/run in a checkout of wf" in broken
