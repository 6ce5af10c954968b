"""``wf explain``: the components of a run, the origin of each value, and the providers of run values."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from wf_run.runfiles.origins import lines_of
from wf_run.runfiles.runfile import dump

RUN_FILE = """\
# a comment = here
epochs = 2

[loss]
use = "focal"
gamma = 3

[[hook]]
use = "gradient-clip"

[[hook]]
use = "early-stopping"
patience = 4
"""


def explained(found: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    return next(one for one in found["components"] if (one["kind"], one["name"]) == (kind, name))


def test_every_value_has_its_origin(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_FILE)
    line = ("--optimizer", "sgd", "--optimizer.lr", 0.5, "--loss.gamma", 1, "--hook", "+progress", "--batch-size", 16)
    found = wf("explain", "run.toml", "--dataset", "iris", *line, "--json").json()
    settings = {one["name"]: (one["value"], one["from"]) for one in found["settings"]}
    assert settings["epochs"] == (2, "run.toml:2")
    assert settings["batch_size"] == (16, "command line")
    assert settings["seed"] == (42, "default")
    loss = explained(found, "loss", "focal")
    assert (loss["from"], loss["provider"]) == ("run.toml:5", "wf-losses")
    options = {one["name"]: (one["value"], one["from"]) for one in loss["options"]}
    assert (options["gamma"], options["reduction"]) == ((1.0, "command line"), ("mean", "default"))
    assert explained(found, "optimizer", "sgd")["from"] == "command line"
    assert explained(found, "model", "mlp")["from"] == "default"
    assert explained(found, "hook", "gradient-clip")["from"] == "run.toml:9"
    stopping = explained(found, "hook", "early-stopping")
    assert {one["name"]: one["from"] for one in stopping["options"]}["patience"] == "run.toml:13"
    values = {one["name"]: one for one in found["values"]}
    assert values["num_outputs"]["provider"] == "task 'classification'"
    assert values["params"]["asked_by"][0] == "optimizer 'sgd'"
    assert not (tmp_path / "runs").exists()


def test_explain_for_reading(wf: Any) -> None:
    done = wf("explain", "--dataset", "iris", "--lr", 0.5, env={"COLUMNS": "100"})
    assert (done.code, done.stderr) == (0, "")
    assert re.search(r"\n  optimizer +adam +wf-optimizers +default\n +lr = 0.5 +command line\n", done.stdout)
    assert "more have their defaults: wf run --help" in done.stdout
    asking = r"loss 'ce', trainer 'supervised', optimizer 'adam',\n +params, evaluator 'default', the loop\n"
    assert re.search(rf"\n  model +model 'mlp' +{asking}", done.stdout)


def test_an_invalid_run_is_refused(wf: Any) -> None:
    done = wf("explain", "--loss", "focl")
    assert done.code == 2
    assert "unknown loss 'focl'\n  did you mean 'focal'" in done.stderr


names = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name != "use")
values = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=3), st.floats(0, 1)
)
tables = st.dictionaries(names, values, max_size=4).map(lambda options: {"use": "x", **options})
documents = st.fixed_dictionaries(
    {"seed": st.integers(0, 9), "loss": tables, "optimizer": tables, "hook": st.lists(tables, min_size=1, max_size=3)}
)


@example({"seed": 0, "loss": {"use": "x"}, "optimizer": {"use": "x", "a": "\x85"}, "hook": [{"use": "x"}]})
@given(documents)
def test_every_key_of_a_run_file_is_found_on_its_line(tmp_path_factory: Any, document: dict[str, Any]) -> None:
    text = dump(document, "comment\nsecond = 1")
    file = tmp_path_factory.getbasetemp() / "run.toml"
    file.write_text(text, encoding="utf-8")
    assert tomllib.loads(text)["seed"] == document["seed"]
    lines, found = text.split("\n"), lines_of(file)
    wanted = {("seed",)}
    for kind in ("loss", "optimizer"):
        wanted |= {(kind,), *((kind, name) for name in document[kind])}
    for number, table in enumerate(document["hook"]):
        wanted |= {("hook", str(number)), *(("hook", str(number), name) for name in table)}
    assert found.keys() == wanted
    heads = {("hook", str(number)) for number in range(3)}
    for key, line in found.items():
        word = key[0] if key in heads or len(key) == 1 else key[-1]
        assert lines[line - 1].lstrip("[").startswith(word)
