"""Every invalid command line exits with its code and one message: the error, the choices and a remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Refused = Callable[..., str]

NAMES = [
    ("list lossse", 2, ["unknown kind 'lossse'", "did you mean 'loss'?", "available: loss, "]),
    ("list focal", 2, ["'focal' is a loss, not a kind", "wf show loss focal"]),
    ("show focl", 2, ["unknown component 'focl'", "did you mean 'focal'", "available: focal, ", "see: wf list"]),
    ("show loss focl", 2, ["unknown loss 'focl'", "did you mean 'focal'?", "wf list loss"]),
    ("show loss", 2, ["'loss' is a kind", "wf list loss"]),
    ("show torchvision", 2, ["a catalogue", "wf list model --search torchvision/"]),
    ("show my.py:times", 2, ["wf show KIND my.py:times"]),
    ("show mse", 2, ["ambiguous", "wf show loss mse or wf show metric mse"]),
    ("show loss focal x", 2, ["too many words", "wf show [KIND] NAME"]),
    ("run --loss focl", 2, ["unknown loss 'focl'", "did you mean 'focal'?", "available: focal, ", "own code:"]),
    ("run --early-stopping", 2, ["unknown option '--early-stopping'\n  did you mean --hook +early-stopping?"]),
    ("run --focal", 2, ["did you mean --loss focal?"]),
    ("run --learning-rate 1", 2, ["did you mean --lr"]),
    ("run --activation relu", 2, ["did you mean --model.activation"]),
    ("run --model lstm --hidden_size 3", 2, ["did you mean --model.hidden_size"]),
    ("list plugins", 2, ["'plugins' is not a kind\n  to list plugins: wf list-plugins"]),
    ("run --los focal", 2, ["unknown option '--los'", "did you mean --loss", "wf run --help"]),
    ("run --los.gamma 2", 2, ["unknown kind 'los'", "did you mean 'loss'?"]),
    ("run --loss focal --loss.gama 2", 2, ["unknown option 'gama'", "did you mean 'gamma'?", "wf show loss focal"]),
    ("run --loss.gamma 2", 2, ["unknown option 'gamma' of loss 'ce'", "available: ignore_index"]),
    ("run --loss my.py:tims", 2, ["my.py 'tims'", "did you mean 'times'?"]),
    ("run --loss ny.py:times", 2, ["there is no file 'ny.py'", "my.py"]),
    ("run --model no_such_package:Net", 2, ["No module named 'no_such_package'"]),
    ("run --loss my.py:times --loss.facter 2", 2, ["unknown option 'facter'", "did you mean 'factor'?"]),
    ("run --hook no:fitverdict", 2, ["unknown hook of this run 'fitverdict'", "did you mean 'fit-verdict'?"]),
    ("run --hook.early-stopping.patience 3", 2, ["'early-stopping'", "add it: --hook +early-stopping"]),
    ("run --hook early-stopping --hook no:progress", 2, ["nothing to remove", "--hook +early-stopping"]),
    ("run --metric f1 --metric f1", 2, ["metric 'f1' is named twice"]),
    ("run -p no:wf-loses", 2, ["unknown plugin", "did you mean 'wf-losses'"]),
    ("run -p nothing.py", 2, ["-p nothing.py: there is no such file"]),
    ("run -p nothing", 2, ["-p nothing: there is no such module", "./nothing.py"]),
    ("run -p", 2, ["-p needs a module, a file or no:NAME"]),
    ("train --loss focal", 2, ["unknown command 'train'", "did you mean: wf run?"]),
    ("fit", 2, ["unknown command 'fit'", "did you mean: wf run?"]),
    ("evalute x", 2, ["unknown command 'evalute'", "did you mean: wf evaluate?", "available: "]),
    ("list --jsn", 2, ["unknown option '--jsn'", "did you mean --json?", "wf list --help"]),
    ("runs a b", 2, ["unexpected extra argument", "wf runs --help"]),
    ("run --epochs", 2, ["--epochs", "requires an argument", "wf run --help"]),
    ("show", 2, ["Missing argument", "wf show --help"]),
]

VALUES = [
    ("--loss focal --loss.gamma x", ["loss 'focal'", "'gamma' wants float, not 'x'"]),
    ("--loss focal --loss.gamma -1", ["'gamma' is -1.0", "at least 0"]),
    ("--loss focal --loss.reduction maen", ["unknown reduction 'maen'", "did you mean 'mean'?", "sum"]),
    ("--model.hidden 64", ["'hidden' wants list[int], not 64", "'[64]'"]),
    ("--optimizer.amsgrad maybe", ["'amsgrad' wants bool, not 'maybe'"]),
    ("--lr abc", ["'lr' wants float, not 'abc'"]),
    ("--lr -1", ["lr is -1.0", "greater than 0"]),
    ("--lr 1 --optimizer.lr 2", ["both --lr and --optimizer.lr"]),
    ("--batch-size 0", ["batch_size must be at least 1, not 0"]),
    ("--batch-size -1", ["batch_size must be at least 1, not -1"]),
    ("--batch-size abc", ["batch_size", "full", "'abc'"]),
    ("--epochs -1", ["epochs must be at least 0, not -1"]),
    ("--epochs x", ["'epochs' wants int", "'x'"]),
    ("--epochs 1.5", ["'epochs' wants int", "1.5"]),
    ("--steps 3 --epochs 1", ["both --epochs and --steps"]),
    ("--seed -1", ["seed must be at least 0"]),
    ("--split 1/2/3/4", ["'1/2/3/4'", "A/B/C", "70/15/15"]),
    ("--split a/b/c", ["'a/b/c'", "70/15/15"]),
    ("--folds 1", ["--folds must be a whole number of at least 2, not 1"]),
    ("--folds 3 --fold 1/3", ["--folds and --fold exclude each other"]),
    ("--monitor loss", ["did you mean 'validation/loss'?"]),
    ("--metric my.py:times", ["needs option 'predictions'", "to make the metric, an object with update("]),
    ("--folds x", ["--folds must be a whole number of at least 2, not x"]),
    ("--folds 5000", ["5000 folds", "2 to 1797"]),
    ("--fold 3/2", ["'3/2'", "k/K"]),
    ("--eval-every 3parsecs", ["'3parsecs' is not a cadence", "50steps, 2epochs or 10min"]),
    ("--checkpoint-every often", ["'often' is not a cadence"]),
    ("--eval-splits foo", ["unknown split 'foo'", "test, train, validation"]),
    ("--keep worst", ["unknown value of 'keep': 'worst'", "best, last"]),
    ("--monitor validation/acc", ["'validation/acc'", "did you mean 'validation/accuracy'"]),
    ("--monitor nonsense", ["monitor 'nonsense' is not of the form SPLIT/FIGURE", "train, validation, test"]),
    ("--monitor val_loss", ["'val_loss' is not of the form SPLIT/FIGURE", "did you mean 'validation/loss'"]),
    ("--monitor val_loss --hook +early-stopping", ["did you mean 'validation/loss'"]),
    ("--monitor val_loss --scheduler plateau", ["did you mean 'validation/loss'"]),
    ("--monitor val_acc", ["did you mean 'validation/accuracy'"]),
    ("--monitor train/loss", ["'train/loss'", "available: train/lr, validation/loss, validation/accuracy"]),
    ("--monitor validation/acc --keep best", ["'validation/acc'", "did you mean 'validation/accuracy'"]),
    ("--device gpu", ["unknown device 'gpu'\n  a GPU of NVIDIA or AMD is cuda, one of Apple mps\n  available: cpu"]),
    ("--name a --run-dir b", ["both --name and --run-dir"]),
    ("--model.num_outputs 5", ["'mlp' gives shape [2, 5]", "10 classes needs [2, 10]", "num_outputs"]),
    ("--model net.py:Net --model.outs 5", ["gives shape [2, 5]", "10 classes needs [2, 10]"]),
    ("--loss ce --dataset diabetes", ["loss 'ce' does not fit dataset 'diabetes'", "losses that fit: l1, mse"]),
    ("--dataset house.csv", ["needs option 'target'", "--dataset.target VALUE"]),
    ("no_toml.toml", ["no_toml.toml is not a TOML file", "line 1"]),
    ("typo.toml", ["typo.toml:1: unknown key 'epocs'", "did you mean 'epochs'"]),
    ("below.toml", ["'epochs' is a general key", "above the first table", "--epochs"]),
    ("typos.toml", ["there is no run file 'typos.toml'", "did you mean typo.toml"]),
    (".", ["'.' is a folder, not a run file"]),
]

DATA = [
    ("--dataset city.csv --dataset.target price", ["line 2, column 'city': 'Rome' is not a number", "categorical"]),
    ("--dataset city.csv --dataset.target price --dataset.ignore [] ", ["'Rome' is not a number", "--dataset.ignore"]),
    ("--dataset house.csv --dataset.target pric", ["unknown column 'pric'", "did you mean 'price'?", "price, rooms"]),
    ("--dataset empty.csv --dataset.target price", ["empty.csv is empty", "name the columns"]),
    ("--dataset hous.csv --dataset.target price", ["no file 'hous.csv'", "did you mean 'house.csv'"]),
    ("--dataset photos/", ["photos"]),
    ("--run-dir a_file/sub --epochs 1 --quiet", ["cannot make run directory a_file/sub", "choose another --run-dir"]),
]


@pytest.mark.parametrize(("line", "code", "words"), NAMES, ids=[line for line, *_ in NAMES])
def test_unknown_word(refused: Refused, line: str, code: int, words: list[str]) -> None:
    refused(line, code, *words)


@pytest.mark.parametrize(("options", "words"), VALUES, ids=[options for options, _ in VALUES])
def test_value_that_does_not_fit(refused: Refused, options: str, words: list[str]) -> None:
    refused(f"run {options}", 2, *words)


@pytest.mark.parametrize(("options", "words"), DATA, ids=[options for options, _ in DATA])
def test_data_that_cannot_be_used(refused: Refused, folder: Path, options: str, words: list[str]) -> None:
    (folder / "photos").mkdir()
    refused(f"run {options}", 4, *words)


def test_text_among_numeric_targets(refused: Refused, folder: Path) -> None:
    (folder / "bad.csv").write_text("x,y\n1,2\n2,3\n3,4\n4,many\n" + "5,6\n" * 20)
    message = refused("run --dataset bad.csv --dataset.target y --dataset.task regression", 4, "'many'")
    assert "line 5" in message


@pytest.mark.skipif(__import__("torch").cuda.is_available(), reason="there is a CUDA device")
def test_unavailable_or_unknown_device(refused: Refused) -> None:
    refused("run --device cuda", 2, "device 'cuda' is not there\n  available: cpu, auto\n")
    refused("run --device CUDA", 2, "unknown device 'CUDA'\n  available: auto, cpu\n")


@pytest.mark.parametrize("option", ["--name done", "--run-dir runs/done"])
def test_existing_run_directory(refused: Refused, finished: Path, option: str) -> None:
    refused(f"run --epochs 1 {option}", 2, "runs/done exists already", "wf resume runs/done")


def test_runs_is_a_file_instead_of_a_folder(refused: Refused, folder: Path) -> None:
    (folder / "runs").touch()
    refused("run --epochs 1 --quiet --name x", 4, "cannot make run directory runs/x")


def test_run_directory_in_place_of_a_run_file(refused: Refused, finished: Path) -> None:
    refused("run runs/done", 2, "is a folder, not a run file", "wf run runs/done/run.toml")


@pytest.mark.parametrize("verb", ["resume", "evaluate", "predict", "export", "plot"])
def test_run_directory_that_does_not_exist(refused: Refused, finished: Path, verb: str) -> None:
    extra = {"predict": "test", "export": "x.pt"}.get(verb, "")
    refused(f"{verb} dune {extra}", 4, "there is no run directory 'dune'", "in runs: done")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("evaluate done --split foo", 2, ["unknown split 'foo'", "test, train, validation"]),
        ("evaluate done --checkpoint foo", 4, ["unknown checkpoint 'foo'", "latest, step-00000040"]),
        ("resume done", 2, ["is done", "wf resume runs/done --epochs 11"]),
        ("resume done --epochs 1", 2, ["is done", "--epochs 11"]),
        ("resume done --epochs x", 2, ["'epochs' wants int"]),
        ("predict done no.npy", 4, ["there is no file 'no.npy'"]),
        ("predict done house.csv", 2, ["neither a split", "nor a file that this run reads: .jpg"]),
        ("predict done my.py", 2, ["neither a split", ".npy, .npz"]),
        ("predict done other.npy", 4, ["inputs of shape [3, 7, 7]", "the run takes [N, 1, 8, 8]"]),
        ("predict done empty.npy", 4, ["empty.npy cannot be read"]),
        ("predict done cut.npz", 4, ["cut.npz cannot be read"]),
        ("export done x.h5", 2, ["'x.h5'", ".safetensors", ".pt", ".onnx"]),
        ("export done a_file/x.pt", 4, ["cannot write a_file/x.pt"]),
        ("plot done --format gif", 2, ["'gif' is not one of 'svg', 'png'"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_invalid_requests_about_a_finished_run(
    refused: Refused, finished: Path, folder: Path, line: str, code: int, words: list[str]
) -> None:
    np.save(folder / "other.npy", np.zeros((3, 7, 7), dtype=np.float32))
    (folder / "empty.npy").touch()
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    refused(line, code, *words)


@pytest.mark.parametrize(
    ("file", "content", "line", "code", "words"),
    [
        ("run.toml", "x = = 1", "evaluate done", 2, ["run.toml is not a TOML file"]),
        ("run.toml", None, "evaluate done", 2, ["there is no run file", "run.toml"]),
        ("manifest.json", '{"status": ', "resume done --epochs 2", 4, ["manifest.json cannot be read"]),
        ("manifest.json", "[1, 2]", "resume done --epochs 2", 4, ["manifest.json cannot be read"]),
        (
            "checkpoints/step-00000040/manifest.json",
            "{",
            "evaluate done",
            4,
            ["no usable checkpoint", "cannot be read"],
        ),
        ("checkpoints/step-00000040/tensors.safetensors", "", "predict done test", 4, ["does not match its checksum"]),
        ("checkpoints/step-00000040/state.json", "{}", "resume done --epochs 2 --quiet", 4, ["no usable checkpoint"]),
    ],
)
def test_damaged_run(
    wf: Any, finished: Path, file: str, content: str | None, line: str, code: int, words: list[str]
) -> None:
    (finished / file).unlink() if content is None else (finished / file).write_text(content)
    before = (finished / "manifest.json").read_bytes()
    result = wf(*line.split())
    assert (result.code, result.stdout) == (code, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert [word for word in words if word not in result.stderr] == [], result.stderr
    assert (finished / "manifest.json").read_bytes() == before


def test_cross_validation_in_place_of_a_single_run(wf: Any, refused: Refused, folder: Path) -> None:
    assert wf("run", "--folds", 2, "--epochs", 1, "--quiet", "--name", "both").code == 0
    refused("evaluate both", 2, "both is a cross-validation of 2 runs", "both/fold-1")
    shutil.rmtree(folder / "runs" / "both" / "fold-2")  # as when the first fold was killed
    refused("resume both", 2, "not trained yet: fold 2", "fold-1/run.toml --fold 2/2 --run-dir runs/both/fold-2")


def test_comparison_in_place_of_a_single_run(refused: Refused, folder: Path) -> None:
    (folder / "runs" / "two").mkdir(parents=True)
    (folder / "runs" / "two" / "manifest.json").write_text(
        '{"kind": "comparison", "resumed_by": "wf compare --resume"}'
    )
    refused("resume two", 2, "two is a comparison", "wf compare --resume runs/two")


def test_plugin_named_on_the_command_line_fails_to_load(refused: Refused) -> None:
    for line in ("run -p broken.py --epochs 1", "list -p broken.py", "show focal -p broken.py"):
        refused(line, 3, "plugin 'broken' could not be loaded", "looked for it beside broken.py and in the working")


def test_plugin_named_in_a_run_file_fails_to_load(refused: Refused, folder: Path) -> None:
    (folder / "with.toml").write_text('plugins = ["broken.py"]\n')
    refused("run with.toml", 3, "plugin 'broken' could not be loaded", "No module named 'no_such_package_of_anybody'")


@pytest.mark.parametrize("line", ["run --loss mine --epochs 1", "show mine"])
def test_component_whose_module_is_broken(wf: Any, folder: Path, line: str) -> None:
    result = wf(*line.split(), "-p", "plug.py")
    assert (result.code, result.stdout) == (3, "")
    assert "loss 'mine' of plug could not be loaded" in result.stderr
    assert "No module named 'no_such_package_of_anybody' (try: install the package that provides it" in result.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("line", "config", "note"),
    [
        ("--epochs 1 --loss ce --epochs 2", "epochs = 2", "--epochs is given more than once; the last one counts: 2"),
        ("--lr 0.1 --lr 0.2", "lr = 0.2", "--lr is given more than once; the last one counts: 0.2"),
        ("--loss ce --loss focal", 'use = "focal"', "--loss is given more than once; the last one counts: focal"),
        (
            "--model.dropout 0.1 --model.dropout 0.2",
            "dropout = 0.2",
            "model 'mlp': 'dropout' is given more than once; the last one counts: 0.2",
        ),
        (
            "--scheduler warmup --scheduler.then step --scheduler.then.gamma 0.5 --scheduler.then cosine",
            'use = "cosine"',
            "'then' is given more than once; the last one counts: cosine",
        ),
        ("--model.hidden 8 --model.hidden [16,4]", "hidden = [8, 16, 4]", ""),
        ("--eval-splits train --eval-splits validation,test", 'eval_splits = ["train", "validation", "test"]', ""),
        ("--links a --links @null --eval-splits test", 'eval_splits = ["test"]', ""),
        ("--quiet --quiet --no-shuffle --shuffle", "shuffle = true", ""),
    ],
)
def test_an_option_that_is_given_twice(wf: Any, line: str, config: str, note: str) -> None:
    shown = wf("run", "--model", "mlp", *line.split(), "--print-config")
    told = [one for one in shown.stderr.splitlines() if "more than once" in one]
    assert len(told) == bool(note)
    assert note in "".join(told)
    if "gamma" in line:  # cosine has none
        assert (shown.code, "unknown option 'gamma'" in shown.stderr) == (2, True)
    else:
        assert config in shown.stdout


@pytest.mark.parametrize(
    "line",
    [
        "--monitor validation/acuracy",
        "--hook +early-stopping --hook.early-stopping.monitor validation/acuracy",
        "--scheduler plateau --scheduler.monitor validation/acuracy",
        "--scheduler plateau --scheduler.monitor validation/acuracy:max",
    ],
)
def test_a_misspelt_figure_is_refused_before_the_run_directory_is_made(wf: Any, folder: Path, line: str) -> None:
    refused = wf("run", "--dataset", "iris", "--epochs", 1, *line.split())
    assert refused.code == 2
    assert "did you mean 'validation/accuracy'" in refused.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("line", ["list losses --search a --search b", "runs --search a --search b"])
def test_every_command_warns_that_the_last_repeated_option_counts(wf: Any, line: str) -> None:
    assert wf(*line.split()).stderr.count("--search is given more than once; the last one counts: b") == 1


def test_a_dry_run_warns_once_about_repeated_options(wf: Any) -> None:
    shown = wf("run", "--dataset", "iris", "--loss.gamma", 1, "--loss.gamma", 2, "--loss", "focal", "--dry-run")
    assert shown.code == 0
    assert shown.stderr.count("given more than once") == 1
