"""Layered run files: `extends`, several files, variants, references, and the origin of each value."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

import wf as package
from wf.errors import UsageError
from wf_run.runfiles.origins import lines_of
from wf_run.runfiles.reading import read
from wf_run.runfiles.runfile import load, load_variants
from wf_run.runfiles.said import said_in, without_said

BASE = """\
epochs = 2

[dataset]
use = "iris"

[optimizer]
use = "sgd"
lr = 0.1
momentum = 0.9

[[hook]]
use = "early-stopping"
patience = 5
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)


def merged(path: Path | list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """The merged content of the files, and file name and line of each key."""
    document, _ = read(path)
    places = {".".join(key): Path(place).name for key, place in said_in(document).places.items()}
    return without_said(document), places


def test_a_file_overrides_the_files_that_it_extends(tmp_path: Path) -> None:
    write(tmp_path, base=BASE, other="seed = 3\nsteps = 9\n")
    write(tmp_path, run='extends = ["base.toml", "other.toml"]\nsteps = 4\n[optimizer]\nlr = 0.2\n')
    document, places = merged(tmp_path / "run.toml")
    assert document == {
        "seed": 3,
        "steps": 4,
        "dataset": {"use": "iris"},
        "optimizer": {"use": "sgd", "momentum": 0.9, "lr": 0.2},
        "hook": [{"use": "early-stopping", "patience": 5}],
    }
    assert places["optimizer.lr"] == "run.toml:4"
    assert places["optimizer.momentum"] == "base.toml:9"
    assert (places["steps"], places["seed"], places["hook.0.patience"]) == (
        "run.toml:2",
        "other.toml:1",
        "base.toml:13",
    )
    assert "epochs" not in places


def test_another_component_drops_the_options_of_the_extended_file(tmp_path: Path) -> None:
    write(tmp_path, base=BASE, run='extends = "base.toml"\noptimizer = "adam"\nhook = ["progress"]\n')
    document, places = merged(tmp_path / "run.toml")
    assert (document["optimizer"], document["hook"]) == ({"use": "adam"}, [{"use": "progress"}])
    assert {key: place for key, place in places.items() if key.startswith(("optimizer", "hook"))} == {
        "optimizer": "run.toml:2",
        "optimizer.use": "run.toml:2",
        "hook": "run.toml:3",
        "hook.0": "run.toml:3",
        "hook.0.use": "run.toml:3",
    }
    (note,) = said_in(read(tmp_path / "run.toml")[0]).notes
    assert "optimizer adam replaces sgd" in note
    assert "lr, momentum" in note


def test_a_file_extended_twice_is_below_both(tmp_path: Path) -> None:
    write(tmp_path, base="seed = 1\nepochs = 1\n", a='extends = "base.toml"\nseed = 2\n', b='extends = "base.toml"\n')
    assert merged([tmp_path / "a.toml", tmp_path / "b.toml"])[0] == {"seed": 2, "epochs": 1}


def test_paths_are_looked_up_beside_each_file(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", base='plugins = ["own.py"]\nepochs = 1\n')
    (tmp_path / "below" / "own.py").write_text("")
    write(tmp_path, run='extends = "below/base.toml"\nplugins = ["json"]\n')
    document, folders = read(tmp_path / "run.toml")
    assert document["plugins"] == [str(tmp_path / "below" / "own.py"), "json"]
    assert folders == (tmp_path / "code", tmp_path, tmp_path / "below" / "code", tmp_path / "below")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"run": 'extends = "run.toml"'}, "extends itself: {0}/run.toml -> {0}/run.toml"),
        (
            {"run": 'extends = "b.toml"', "b": 'extends = ["c.toml"]', "c": 'extends = "b.toml"'},
            "extends itself: {0}/b.toml -> {0}/c.toml -> {0}/b.toml",
        ),
        ({"run": '\nextends = "bse.toml"', "base": ""}, "{0}/run.toml:2: there is no run file '{0}/bse.toml'"),
        ({"run": 'extends = "bse.toml"', "base": ""}, "did you mean base.toml"),
        ({"run": "extends = 3"}, "{0}/run.toml:1: extends names run files"),
        ({"run": 'extends = "${{env:NOBODY_HAS_IT}}/x.toml"'}, "no variable NOBODY_HAS_IT"),
        ({"run": 'extends = "${{seed}}.toml"'}, "only ${{env:NAME}}"),
        ({"run": 'extends = "b.toml"', "b": "\n\nepoch = 3"}, "{0}/b.toml:3: unknown key 'epoch'"),
        ({"run": "epochs = 'many'"}, "{0}/run.toml:1: the run: option 'epochs' wants"),
        ({"run": "epochs = 1\n[[variant]]\nepoch = 2"}, "{0}/run.toml:3: variant 1 ('variant 1'): unknown key 'epoch'"),
    ],
)
def test_errors_in_extended_files_name_file_and_line(tmp_path: Path, files: dict[str, str], words: str) -> None:
    write(tmp_path, **{name: text.replace("{{", "{").replace("}}", "}") for name, text in files.items()})
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "run.toml")
    assert words.format(tmp_path) in str(caught.value)


def test_line_numbers_of_nested_arrays(tmp_path: Path) -> None:
    write(
        tmp_path, run='[[variant]]\nname = "a"\n[variant.loss]\nuse = "ce"\n[[variant]]\n[[variant.hook]]\nuse = "x"\n'
    )
    assert lines_of(tmp_path / "run.toml") == {
        ("variant", "0"): 1,
        ("variant", "0", "name"): 2,
        ("variant", "0", "loss"): 3,
        ("variant", "0", "loss", "use"): 4,
        ("variant", "1"): 5,
        ("variant", "1", "hook", "0"): 6,
        ("variant", "1", "hook", "0", "use"): 7,
    }
    _, variants = load_variants(tmp_path / "run.toml")
    assert said_in(variants[0][1]).places[("loss", "use")].endswith("run.toml:4")


# The command line


def test_files_variant_and_command_line_are_merged_in_order(wf: Any, tmp_path: Path) -> None:
    write(tmp_path, base=BASE, more='batch_size = 16\n[[variant]]\nname = "small"\nmodel.hidden = [4]\n')
    done = wf("explain", "base.toml", "more.toml", "--variant", "small", "--lr", 0.5, "--json").json()
    settings = {one["name"]: (one["value"], one["from"]) for one in done["settings"]}
    assert (settings["epochs"], settings["batch_size"]) == ((2, "base.toml:1"), (16, "more.toml:1"))
    options = {
        (one["kind"], option["name"]): (option["value"], option["from"])
        for one in done["components"]
        for option in one["options"]
    }
    assert options["optimizer", "lr"] == (0.5, "command line")
    assert options["optimizer", "momentum"] == (0.9, "base.toml:9")
    assert options["model", "hidden"] == ([4], "more.toml:4")
    assert options["hook", "patience"] == (5, "base.toml:13")


def test_a_file_with_variants_needs_one_to_be_chosen(wf: Any, tmp_path: Path) -> None:
    write(tmp_path, run='[[variant]]\nname = "small"\n[[variant]]\nname = "large"\n')
    done = wf("run", "run.toml")
    assert done.code == 2
    assert "choose one: --variant small, or large" in done.stderr
    assert "wf compare run.toml" in done.stderr
    done = wf("run", "run.toml", "--variant", "smal")
    assert (done.code, "did you mean 'small'" in done.stderr) == (2, True)
    write(tmp_path, run="epochs = 1\n")
    assert "has no [[variant]] tables" in wf("run", "run.toml", "--variant", "small").stderr
    assert "there is no run file that could have the variant 'x'" in wf("run", "--variant", "x").stderr
    write(tmp_path, run='[[variant]]\nname = "small"\n[[variant]]\nname = "small"\n')
    done = wf("run", "run.toml", "--variant", "small")
    assert (done.code, "run.toml has two variants with the name 'small'" in done.stderr) == (2, True)


def test_a_comparison_takes_files_that_extend(wf: Any, tmp_path: Path) -> None:
    two = 'extends = "base.toml"\n[[variant]]\nname = "a"\n[[variant]]\nname = "b"\n'
    write(tmp_path, base=BASE, run=f"{two}lr.x = 3\n")
    assert "run.toml:6: variant 2 ('b'): unknown key 'lr'" in wf("compare", "run.toml", "--dry-run").stderr
    write(tmp_path, run=f"{two}batch_size = 8\n")
    rows = wf("compare", "run.toml", "--dry-run", "--json").json()["rows"]
    assert [row["name"] for row in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[optimizer]\nuse = "sgd"\nmomentun = 1', "run.toml:3: unknown option 'momentun' of optimizer 'sgd'"),
        ('[optimizer]\nuse = "sgd"\nlr = "fast"', "run.toml:3: optimizer 'sgd': option 'lr' wants float"),
        ('[loss]\nuse = "focal"\n\ngamma = -1', "run.toml:4: loss option 'gamma' is -1.0"),
        ('loss = "focl"', "run.toml:1: unknown loss 'focl'"),
        ('[[hook]]\nuse = "early-stopping"\npatience = 0.5', "run.toml:3: hook 'early-stopping': option 'patience'"),
        ("[optimizer]\nepochs = 3", "run.toml:2: 'epochs' is a general key"),
        ("batch_size = 0", "run.toml:1: batch_size must be at least 1"),
    ],
)
def test_errors_name_file_line_and_key(wf: Any, tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, run=text)
    done = wf("run", "run.toml", "--dry-run")
    assert done.code == 2
    assert f"wf: {words}" in done.stderr


def test_an_error_on_the_command_line_names_no_file(wf: Any, tmp_path: Path) -> None:
    write(tmp_path, run=BASE)
    done = wf("run", "run.toml", "--optimizer.lr", "fast")
    assert "wf: optimizer 'sgd': option 'lr' wants float" in done.stderr


# References


def test_the_written_run_file_keeps_references_instead_of_values(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "hidden-place").mkdir()
    (tmp_path / "hidden-place" / "x.csv").write_text("a,y\n" + "\n".join(f"{n},{n % 2}" for n in range(40)))
    write(
        tmp_path,
        run='steps = 2\n[dataset]\nuse = "${env:PLACE}/x.csv"\ntarget = "y"\n'
        '[optimizer]\nuse = "sgd"\nlr = "${env:RATE}"\nmomentum = "${optimizer.lr}"\n'
        '[[hook]]\nuse = "early-stopping"\npatience = "${steps}"\n',
    )
    env = {"PLACE": "hidden-place", "RATE": "0.12345"}
    assert wf("run", "run.toml", "--name", "a", "--quiet", env=env).code == 0
    document = tomllib.loads((tmp_path / "runs" / "a" / "run.toml").read_text())
    assert document["dataset"]["path"] == "${env:PLACE}/x.csv"
    assert document["optimizer"]["lr"] == "${env:RATE}"
    assert document["optimizer"]["momentum"] == "${optimizer.lr}"
    assert document["hook"][0]["patience"] == 2
    for file in (tmp_path / "runs" / "a").rglob("*"):
        if file.is_file():
            assert b"hidden-place" not in file.read_bytes(), file
    manifest = json.loads((tmp_path / "runs" / "a" / "manifest.json").read_text())
    assert manifest["run_file"]["optimizer"]["lr"] == "${env:RATE}"
    predicted = wf("predict", "a", "hidden-place/x.csv")  # needs no environment variable
    assert (predicted.code, len(predicted.stdout.split())) == (0, 40)
    refused = wf("evaluate", "a")
    assert refused.code == 2
    assert "runs/a/run.toml:" in refused.stderr
    assert "the environment has no variable PLACE, which ${env:PLACE} refers to" in refused.stderr
    assert wf("evaluate", "a", env=env).code == 0
    again = wf("run", "runs/a/run.toml", "--name", "b", "--quiet", env={**env, "RATE": "0.5"})
    assert again.code == 0
    assert wf("run", "run.toml", "--name", "a", "--resume-if-there", "--quiet", env=env).code == 0


def test_a_reference_follows_overridden_values(tmp_path: Path) -> None:
    write(tmp_path, run='seed = 5\n[optimizer]\nuse = "sgd"\nlr = 0.25\nmomentum = "${optimizer.lr}"\n')
    for change, momentum in (({}, 0.25), ({"optimizer": {"lr": 0.5}}, 0.5)):
        run = package.build(tmp_path / "run.toml", dataset="iris", epochs=1, save=False, quiet=True, **change)
        with run as experiment:
            assert experiment.plan["optimizer"]["momentum"] == momentum


def test_references_from_python_inside_text_and_to_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDE", "8")
    asked = {"dataset": "iris", "epochs": 1, "model": {"use": "mlp", "hidden": ["${env:SIDE}", "${batch_size}"]}}
    with package.build(asked, checkpoint_every="${env:SIDE}steps", save=False, quiet=True) as experiment:
        assert experiment.plan["checkpoint_every"] == "8steps"
        assert experiment.plan["model"]["hidden"] == [8, 32]
        assert 'hidden = ["${env:SIDE}", 32]' in experiment.run_file()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('seed = "${epochs}"\nepochs = "${seed}"', "run.toml:1: seed refers to itself: seed -> epochs -> seed"),
        (
            '[[hook]]\nuse = "early-stopping"\npatience = "${hook.early-stopping.patience}"',
            "run.toml:3: hook.early-stopping.patience refers to itself",
        ),
        ('[optimizer]\nuse = "sgd"\nlr = "${optimizer.lrr}"', "run.toml:3: unknown key 'optimizer.lrr'"),
        ('seed = "${env:NOBODY_HAS_IT}"', "run.toml:1: seed: the environment has no variable NOBODY_HAS_IT"),
        ('monitor = "x${optimizer}"\n[optimizer]\nlr=1', "run.toml:1: unknown key 'optimizer'"),
    ],
)
def test_cyclic_and_unknown_references_are_refused(wf: Any, tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, run=text)
    done = wf("run", "run.toml", "--dataset", "iris", "--dry-run")
    assert done.code == 2
    assert f"wf: {words}" in done.stderr


def test_missing_environment_variables_do_not_prevent_loading(tmp_path: Path) -> None:
    write(tmp_path, run='[dataset]\nuse = "${env:NOBODY_HAS_IT}"\n')
    assert load(tmp_path / "run.toml") == {"dataset": {"use": "${env:NOBODY_HAS_IT}"}}


def test_code_in_extended_run_directories_needs_permission(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "there" / "code").mkdir(parents=True)
    (tmp_path / "there" / "manifest.json").write_text('{"status": "done"}')
    (tmp_path / "there" / "code" / "net.py").write_text("raise SystemExit('it ran')\n")
    write(tmp_path / "there", run='model = "net.py:Net"\n')
    write(tmp_path, over='extends = "there/run.toml"\nepochs = 1\n', by='[model]\nuse = "${env:NET}"\n')
    for line in (("over.toml",), ("there/run.toml", "over.toml"), ("there/run.toml", "by.toml")):
        done = wf("run", *line, env={"NET": "net.py:Net"})
        assert done.code == 2, line
        assert "--trust" in done.stderr
        assert "it ran" not in done.stderr
