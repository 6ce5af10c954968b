"""A stranger's package works as the built-in ones do: installed, seen, trained with, uninstalled and gone."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workspace import EXAMPLE, FOLDERS, ROOT, run_pip

pytestmark = [pytest.mark.xdist_group("wheels"), pytest.mark.timeout(300)]

R1 = [
    "--dataset",
    "points",
    "--model",
    "linear-regression",
    "--model.weight",
    "1",
    "--model.bias",
    "0",
    "--loss",
    "mse",
]
WHOLE = ["--split", "100/0/0", "--batch-size", "full", "--no-shuffle", "--epochs", "10"]


class Environment:
    """A fresh virtual environment that shares the third-party packages of the test's own, and nothing else.

    A path to the test's own site-packages would leak wf's entry points; so there is a folder of links to everything
    in it that is not of this workspace.
    """

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.folder, self.python = folder, folder / "bin" / "python"
        self.third_party = folder / "third-party"
        self.third_party.mkdir()
        for entry in third_party_entries():
            link = self.third_party / entry.name
            if not link.exists():
                link.symlink_to(entry)
        site_packages = next(folder.glob("lib/python*/site-packages"))
        (site_packages / "third_party.pth").write_text(f"{self.third_party}\n")

    def install(self, *wheels: Path) -> None:
        run_pip("install", "--no-deps", "--no-index", *map(str, wheels), python=self.python)

    def wf(self, *args: str, code: int = 0) -> str:
        """Run the console script in an empty working directory; gives its standard output."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        done = subprocess.run([self.folder / "bin" / "wf", *args], cwd=work, capture_output=True, text=True)
        assert done.returncode == code, f"wf {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout or done.stderr

    def plugins(self) -> dict[str, dict[str, Any]]:
        return {plugin["name"]: plugin for plugin in json.loads(self.wf("list-plugins", "--json"))}


def third_party_entries() -> Iterator[Path]:
    """What lies in the folders that hold installed distributions, without what is ours and without path files."""
    for folder in {Path(str(found.locate_file(""))).resolve() for found in importlib.metadata.distributions()}:
        if any(folder.glob("pluggy-*.dist-info")) or any(folder.glob("torch-*.dist-info")):
            yield from (entry for entry in folder.iterdir() if not is_ours(entry.name))


def is_ours(name: str) -> bool:
    return name in ("wf", "__pycache__") or name.startswith("wf_") or name.endswith(".pth")


def test_strangers_package(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheels[name] for name in FOLDERS))
    assert set(environment.plugins()) == set(FOLDERS) - {"wf-core", "wf-cli"}

    environment.install(wheels["wf-example"])
    seen = environment.plugins()["wf-example"]
    assert (seen["distribution"], seen["version"], seen["status"]) == ("wf-example", "0.1.0", "ok")
    names = {(component["kind"], component["name"]) for component in seen["components"]}
    assert names == {("loss", "log-cosh"), ("trainer", "hand-gradient"), ("dataset", "points")}
    assert "scale" in environment.wf("show", "loss", "log-cosh")

    check_hand_gradient(environment)
    check_log_cosh(environment)
    check_own_tests(environment)

    run_pip("uninstall", "-y", "-q", "wf-example", python=environment.python)
    assert "wf-example" not in environment.plugins()
    assert "log-cosh" in environment.wf("run", "--dataset", "diabetes", "--loss", "log-cosh", code=2)


def check_hand_gradient(environment: Environment) -> None:
    """R1, its second row, with the package's dataset and trainer."""
    report = environment.wf("run", *R1, *WHOLE, "--trainer", "hand-gradient", "--trainer.lr", "1e-4", "--json")
    run_dir = environment.folder / "work" / json.loads(report)["run_dir"]
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = {record["epoch"]: record["loss"] for record in records if record["event"] == "train"}
    assert [losses[0], losses[1], losses[9]] == pytest.approx([1763.884644, 1667.137939, 1110.275269], rel=1e-6)


def check_log_cosh(environment: Environment) -> None:
    options = ["--dataset", "diabetes", "--loss", "log-cosh", "--loss.scale", "0.5", "--epochs", "2"]
    report = json.loads(environment.wf("run", *options, "--json"))
    assert report["status"] == "done"
    assert 'use = "log-cosh"' in (environment.folder / "work" / report["run_dir"] / "run.toml").read_text()


def check_own_tests(environment: Environment) -> None:
    copy = shutil.copytree(ROOT / EXAMPLE / "tests", environment.folder / "tests")
    command = [environment.python, "-m", "pytest", "-q", "-W", "error", "--rootdir", copy, copy]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
