"""Every check finds its planted defect, no other check does, and correct components pass all checks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted_defects import CORRECT, MIXING, NAMED, PLANTED, Planted

from wf.declarations.component import Component
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.discovery.plugins import Plugin
from wf.registry import Registry
from wf.traits import TransformTraits
from wf_kit import Result, check_plugin
from wf_kit.checks import CHECKS

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("packages")
        patch.syspath_prepend(folder)
        yield Package(folder)


class Package:
    """Packages with a plugin.py, on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plain = self.write("planted_plain", "")

    def write(self, name: str, source: str) -> str:
        """Write a package whose plugin.py is `source`; returns the name of its module."""
        (self.folder / name).mkdir()
        (self.folder / name / "__init__.py").touch()
        declaration = "from wf import hookimpl\n\n@hookimpl\ndef wf_components():\n    return []\n"
        (self.folder / name / "plugin.py").write_text(f"{source}\n{declaration}")
        return f"{name}.plugin"


def plugin(name: str, module: str, *components: Component) -> Plugin:
    return Plugin(name=name, distribution=None, version=None, module=module, status="ok", components=components)


def check_planted(planted: Planted, package: Package) -> list[Result]:
    module = package.write(f"planted_{next(NUMBERS)}", planted.source) if planted.source else package.plain
    plugins = [plugin("planted", module, planted.component)]
    if planted.beside is not None:
        plugins.append(plugin("another", package.plain, planted.beside))
    return check_plugin("planted", registry=Registry(plugins))


def not_passed(results: Sequence[Result]) -> dict[str, str]:
    return {result.check: f"{result.status}: {result.message}" for result in results if result.status != "passed"}


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind not in KINDS.on_demand), *DECLARATIONS])
def test_correct_component_passes_every_check(kind: str, package: Package, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    results = check_planted(Planted(check="", defect="", component=CORRECT[kind]), package)
    assert not_passed(results) == {}
    assert {result.check for result in results} == {one.id for one in CHECKS.values() if one.covers(kind)}
    assert torch.equal(torch.get_rng_state(), before), "the generator is left as it was"
    assert list(tmp_path.iterdir()) == [], "and so is the folder"


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.check)
def test_defect_is_caught_by_its_check_alone(planted: Planted, package: Package) -> None:
    results = check_planted(planted, package)
    failed = {result.check: result.message for result in results if result.status == "failed"}
    assert list(failed) == [planted.check], failed
    assert failed[planted.check]
    skipped = [result.message for result in results if result.status == "skipped"]
    assert not [message for message in skipped if not message]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Blend", ""),
        ("BlendedTwice", "transform-traits: what it gives: one_hot targets must add up to 1, and none be negative"),
        ("BlendedShorter", "transform-shape: it turns [5] into [4] in training, and evaluation sees [5]"),
        ("BlendedInPlace", "transform-deterministic: it changes its inputs in place"),
        ("BlendedAnew", "transform-deterministic: it gives other outputs the second time"),
        ("BlendedAlone", "transform-batches: a sample's output depends on other samples in the batch"),
    ],
)
def test_transforms_that_mix_samples(name: str, found: str, package: Package) -> None:
    results = check_planted(Planted(check="", defect="", component=MIXING[name]), package)
    failed = [f"{result.check}: {result.message}" for result in results if result.status == "failed"]
    assert failed == ([found] if found else [])
    passed = {result.check for result in results if result.status == "passed"}
    assert found or passed >= {"transform-traits", "transform-shape", "transform-deterministic", "transform-batches"}


def test_a_joint_transform_that_does_not_say_which_targets_it_takes(package: Package) -> None:
    component = replace(MIXING["Blend"], traits=TransformTraits(train_only=True, joint="batch"))
    results = check_planted(Planted(check="", defect="", component=component), package)
    said = {result.message for result in results if result.check == "transform-traits"}
    assert said == {"it does not say which targets it takes: TransformTraits(targets=...)"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Named", []),
        ("NamedMore", ["it returns the figure 'wrong', but declares ['']"]),
        ("NamedLess", ["it declares the figure 'odd', but returns ['', 'wrong']"]),
    ],
)
def test_metrics_that_declare_their_figures(name: str, found: list[str], package: Package) -> None:
    results = check_planted(Planted(check="", defect="", component=NAMED[name]), package)
    assert [result.message for result in results if result.status == "failed"] == found


def test_every_check_has_a_planted_defect() -> None:
    assert [planted.check for planted in PLANTED] == list(CHECKS)
