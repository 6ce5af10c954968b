"""``wf schema``: the schema by which editors complete and check run files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.registry import Registry
from wf_run.runfiles.schema import schema, text_of

EXAMPLES = sorted((Path(__file__).parents[3] / "tests" / "runs_before").rglob("run.toml"))


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return schema(Registry.discover())


@pytest.fixture(scope="module")
def check(known: dict[str, Any]) -> Callable[[str], Any]:
    validate = fastjsonschema.compile(known)
    return lambda text: validate(tomllib.loads(text))


def test_the_schema_has_every_key_and_documents_options(known: dict[str, Any]) -> None:
    keys = known["properties"]
    assert {*GENERAL, *KINDS.of_runs, "extends", "variant"} == keys.keys()
    assert keys["batch_size"]["default"] == 32
    assert keys["seed"]["description"] == "Seed of all random numbers."
    loss = known["definitions"]["loss"]
    names = loss["properties"]["use"]["anyOf"][0]
    summaries = dict(zip(names["enum"], names["x-taplo"]["docs"]["enumValues"], strict=True))
    assert summaries["ce"] == "softmax cross-entropy"
    assert "torch/NLLLoss" in summaries
    (focal,) = [one["then"] for one in loss["allOf"] if "focal" in str(one["if"])]
    assert focal["properties"]["gamma"]["default"] == 2.0
    assert focal["properties"]["gamma"]["description"]
    assert "num_classes" not in focal["properties"]
    assert "focal: " in loss["properties"]["gamma"]["description"]
    json.loads(json.dumps(known))


@pytest.mark.parametrize(
    "text",
    [
        'extends = ["base.toml"]\nepochs = 3\nloss = "ce"\nhook = ["progress", {use = "plots"}]',
        '[optimizer]\nuse = "sgd"\nlr = "${env:RATE}"\nmomentum = 1',
        '[model]\nuse = "net.py:Net"\nwidth = 3\n[dataset]\nuse = "photos"\nanything = 2',
        '[scheduler]\nuse = "linear-warmup"\nnum_steps = 5\n[scheduler.then]\nuse = "cosine"',
        '[[hook]]\nuse = "early-stopping"\npatience = 2\non_error = "disable"',
        '[[variant]]\nname = "a"\nmodel.hidden = [4]\n[[variant]]\n[variant.loss]\nuse = "focal"\ngamma = 1',
        '[model.generator]\nuse = "mlp"\n[model.critic]\nuse = "mlp"',
        'checkpoint_every = "@null"\nbatch_size = "full"\n[model]\nuse = "torchvision/resnet18"\nweights = "x.pt"',
    ],
)
def test_accepted_run_files_are_valid(check: Callable[[str], Any], text: str) -> None:
    check(text)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_run_files_of_run_directories_are_valid(check: Callable[[str], Any], file: Path) -> None:
    check(file.read_text())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "epoch"),
        ('epochs = "many"', "epochs"),
        ("seed = -1", "seed"),
        ('keep = "worst"', "keep"),
        ('loss = "focl"', "loss"),
        ('[loss]\nuse = "focl"', "loss.use"),
        ('[optimizer]\nuse = "sgd"\nmomentun = 1', "momentun"),
        ('[loss]\nuse = "focal"\ngamma = "x"', "loss.gamma"),
        ("[[hook]]\npatience = 3", "use"),
        ('[[variant]]\nname = "a"\nepoch = 2', "epoch"),
    ],
)
def test_refused_run_files_are_invalid(check: Callable[[str], Any], text: str, words: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException, match=words):
        check(text)


def test_the_schema_command(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from wf import Component, Param, hookimpl\n\n\n"
        "def cubic(predictions, targets, power: int = 3):\n    return predictions\n\n\n"
        "@hookimpl\ndef wf_components():\n    return [Component('loss', 'cubic', cubic, summary='mine')]\n\n\n"
        "@hookimpl\ndef wf_settings():\n"
        "    return [Param(name='patience_sec', type=float, default=1.5, help='Waits.')]\n"
    )
    done = wf("schema", "-p", "mine.py", "--output", "wf.schema.json")
    assert done.code == 0
    assert "#:schema ./wf.schema.json" in done.stderr
    found = json.loads((tmp_path / "wf.schema.json").read_text())
    assert found["properties"]["patience_sec"]["description"] == "Waits."
    assert "power" in found["definitions"]["loss"]["properties"]
    assert json.loads(text_of(Registry.discover())).keys() == found.keys()
    done = wf("schema", "--output", "no/where.json")
    assert (done.code, "cannot be written to 'no/where.json'" in done.stderr) == (4, True)
