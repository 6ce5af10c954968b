"""A package of `wf new-plugin` installs and works unchanged, with the lowest and the newest allowed wf-core."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environment import Environment
from packaging.specifiers import SpecifierSet
from workspace import ROOT, build_wheels, run_pip

from wf.declarations.kinds import KINDS

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("wheels"), pytest.mark.timeout(300)]

NAME = "my-parts"
OWN_KINDS = [name for name, kind in KINDS.items() if not kind.on_demand]
"""The kinds of every run."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a component of every kind, as the command line writes it."""
    folder = tmp_path_factory.mktemp("new") / NAME
    kinds = [word for kind in OWN_KINDS for word in ("--kind", kind)]
    command = [sys.executable, "-P", "-m", "wf_cli", "new-plugin", NAME, *kinds, "--output", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def supported(package: Path) -> SpecifierSet:
    """The versions of wf-core that a package allows."""
    found = re.search(r'"wf-core([^"]+)"', (package / "pyproject.toml").read_text())
    assert found is not None
    return SpecifierSet(found[1])


def lowest_and_newest(allowed: SpecifierSet) -> tuple[str, str]:
    """``>=0.1,<0.2`` as 0.1.0 and 0.1.99, which stands for all later ones."""
    lowest = next(part.version for part in allowed if part.operator == ">=")
    versions = f"{lowest}.0", f"{lowest}.99"
    assert list(allowed.filter(versions)) == list(versions)
    return versions


def core_wheel(version: str, folder: Path) -> Path:
    """The wheel of this workspace's wf-core under another version."""
    sources = shutil.copytree(ROOT / "corelib", folder / "corelib", ignore=shutil.ignore_patterns("__pycache__"))
    for file, pattern in (("pyproject.toml", r'^version = ".*"'), ("src/wf/__init__.py", r'^__version__ = ".*"')):
        text = (sources / file).read_text()
        said = re.search(pattern, text, re.MULTILINE)
        assert said is not None
        (sources / file).write_text(text.replace(said[0], f'{said[0].partition("=")[0]}= "{version}"'))
    return build_wheels([str(sources)], folder / "wheel")["wf-core"]


@pytest.mark.parametrize("which", ["lowest", "newest"])
def test_a_new_package_works_unchanged(which: str, wheels: dict[str, Path], package: Path, tmp_path: Path) -> None:
    version = lowest_and_newest(supported(package))[which == "newest"]
    others = [wheel for name, wheel in wheels.items() if name != "wf-core" and not name.startswith("wf-example")]
    environment = Environment(tmp_path / "venv")
    environment.install(core_wheel(version, tmp_path), *others, build_wheels([str(package)], tmp_path / "own")[NAME])
    assert environment.wf("--version").strip().endswith(version)

    seen = environment.plugins()[NAME]
    assert (seen["status"], seen["version"]) == ("ok", "0.1.0")
    assert [component["kind"] for component in seen["components"]] == OWN_KINDS
    environment.wf("check", NAME)
    environment.pytest(shutil.copytree(package / "tests", tmp_path / "tests"))


def test_the_printed_steps_work(wheels: dict[str, Path], tmp_path: Path) -> None:
    """The printed steps for a first package, without the network."""
    environment = Environment(tmp_path / "venv")
    environment.install(*(wheel for name, wheel in wheels.items() if not name.startswith("wf-example")))
    printed = environment.wf("new-plugin", "my-losses")
    first, second, *wf_steps, last = [line.strip() for line in printed.partition("Next:\n")[2].splitlines()]
    assert (first, second, last) == ("cd my-losses", 'pip install -e ".[test]"', "pytest")

    package = environment.folder / "work" / "my-losses"
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    run_pip("install", *offline, "-e", str(package), python=environment.python)
    for step in wf_steps:
        assert environment.wf(*shlex.split(step)[1:]), step
    environment.pytest(package)
