"""All adapters installed at once: `make test` runs this if their libraries are installed."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docs_examples import read_fences
from workspace import ADAPTER_FOLDERS, ADAPTERS, PLUGINS, ROOT

LIBRARIES = (
    *("torch", "torchvision", "timm", "torchmetrics", "pytorch_optimizer", "kornia", "datasets", "pandas"),
    *("transformers", "tokenizers", "peft"),
)


def test_every_plugin_is_fine(wf: Any) -> None:
    plugins = wf("list-plugins", "--json").json()
    assert {plugin["name"] for plugin in plugins} == {*PLUGINS, *ADAPTERS}
    assert {plugin["status"] for plugin in plugins} == {"ok"}


def test_doctor_finds_no_problem(wf_process: Any) -> None:
    result = wf_process("doctor", "--json")
    assert result.code == 0, result.stdout
    assert not [found for found in result.json() if found["level"] == "problem"]


def test_listing_thousands_of_names_imports_no_library() -> None:
    code = (
        "import sys, json; from wf_cli.main import main; sys.argv = ['wf', 'list', '--all', '--json']\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        f"print(json.dumps([name for name in {LIBRARIES!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    names = [entry["name"] for entry in json.loads(done.stdout)]
    assert json.loads(done.stderr) == []
    assert len(names) > 2000
    assert {"timm/resnet18", "torchvision/resnet18", "pytorch-optimizer/lion", "torch/LBFGS".lower()} <= set(names)


@pytest.mark.parametrize(
    ("kind", "typed", "wanted"),
    [
        ("optimizer", "lion", "pytorch-optimizer/lion"),
        ("optimizer", "lbfgs", "torch/lbfgs"),
        ("model", "vit_tiny_patch16_224", "timm/vit_tiny_patch16_224"),
        ("model", "timm/resnet19", "timm/resnet18"),
        ("model", "torchvision/resnet19", "torchvision/resnet18"),
        ("metric", "MulticlassF1Score", "torchmetrics/MulticlassF1Score"),
        ("loss", "DiceLoss", "smp/DiceLoss"),
    ],
)
def test_suggestions_cross_catalogues(wf: Any, kind: str, typed: str, wanted: str) -> None:
    result = wf("run", f"--{kind}", typed)
    assert result.code == 2
    assert f"'{wanted}'" in result.stderr.splitlines()[1], result.stderr


@pytest.mark.parametrize("name", ADAPTERS)
def test_installed_libraries_are_within_the_declared_ranges(name: str) -> None:
    from packaging.requirements import Requirement

    foreign = [
        needed
        for text in importlib.metadata.requires(name) or ()
        if not (needed := Requirement(text)).name.startswith("wf-")
    ]
    assert foreign
    for needed in foreign:
        assert needed.specifier.contains(importlib.metadata.version(needed.name)), needed


@pytest.mark.parametrize("name", ADAPTERS)
def test_readme_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for fence in read_fences((ROOT / ADAPTER_FOLDERS[name] / "README.md").read_text(encoding="utf-8")):
        if fence.language == "python":
            exec(compile("\n".join(fence.lines), name, "exec"), namespace)
