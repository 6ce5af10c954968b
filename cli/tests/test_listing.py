"""The output of ``wf list-plugins``, ``wf list`` and ``wf show``, for reading and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workspace import PLUGINS

PLUGIN_KEYS = [
    *("name", "distribution", "version", "entry_point", "status", "error", "fix", "import_ms", "components"),
    "changed",
]
COMPONENT_KEYS = ["kind", "name", "summary", "plugin", "distribution", "version", "target"]


def test_plugins_as_json(wf: Any) -> None:
    plugins = wf("list-plugins", "--json").json()
    assert all(list(plugin) == PLUGIN_KEYS for plugin in plugins)
    losses = next(plugin for plugin in plugins if plugin["name"] == "wf-losses")
    assert (losses["distribution"], losses["version"], losses["status"]) == ("wf-losses", "0.1.0", "ok")
    assert losses["error"] is None
    assert losses["import_ms"] > 0
    assert {"kind": "loss", "name": "focal"} in losses["components"]


def test_plugins_that_do_not_load_are_listed(wf: Any, folder: Path) -> None:
    result = wf("list-plugins", "--json", "-p", "broken.py", "-p", "no:wf-metrics")
    states = {plugin["name"]: plugin for plugin in result.json()}
    assert states["broken"]["status"] == "failed"
    assert states["broken"]["distribution"] is None
    assert "no_such_package_of_anybody" in states["broken"]["error"]
    assert "looked for it beside broken.py and in the working directory" in states["broken"]["fix"]
    assert (states["wf-metrics"]["status"], states["wf-metrics"]["components"]) == ("blocked", [])


def test_plugins_for_reading(wf: Any, folder: Path) -> None:
    result = wf("list-plugins", "-p", "broken.py", "--traceback")
    assert result.code == 0
    assert "wf-losses  0.1.0  ok\n  loss  l1, mse, nll" in result.stdout
    assert "broken  broken.py  failed\n  error  ModuleNotFoundError" in result.stdout
    assert "Traceback" not in result.stdout
    assert "broken.py" in result.stderr
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(("text", "env"), [("allow = []", None), ("", ",")])
def test_an_empty_list_says_that_all_plugins_are_blocked(wf: Any, folder: Path, text: str, env: str | None) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.wf]\n{text}\n")
    allow = {"WF_PLUGINS_ALLOW": env}
    told = f"wf: nothing found\n  {len(PLUGINS)} plugins not loaded (blocked); see wf list-plugins"
    assert told in wf("list", env=allow).stderr
    place = "WF_PLUGINS_ALLOW" if env else str(folder / "pyproject.toml")
    plugins = wf("list-plugins", "--json", env=allow).json()
    assert {plugin["error"] for plugin in plugins} == {f"not in the allow-list of {place}, which is empty"}


def test_components_as_json(wf: Any) -> None:
    entries = wf("list", "--json").json()
    assert all(list(entry) == COMPONENT_KEYS for entry in entries)
    assert {entry["kind"] for entry in entries} == {kind["name"] for kind in wf("list", "kinds", "--json").json()}
    assert next(entry for entry in entries if entry["name"] == "focal") == {
        "kind": "loss",
        "name": "focal",
        "summary": next(entry["summary"] for entry in entries if entry["name"] == "focal"),
        "plugin": "wf-losses",
        "distribution": "wf-losses",
        "version": "0.1.0",
        "target": "wf_losses.focal:FocalLoss",
    }


@pytest.mark.parametrize(("word", "kind"), [("loss", "loss"), ("losses", "loss"), ("strategies", "strategy")])
def test_kind_in_singular_and_plural(wf: Any, word: str, kind: str) -> None:
    assert {entry["kind"] for entry in wf("list", word, "--json").json()} == {kind}


def test_components_for_reading(wf: Any) -> None:
    lines = wf("list", "losses", env={"COLUMNS": "80"}).stdout.splitlines()
    assert lines[0].startswith("loss: ")
    names = [line.split()[0] for line in lines if line[:2] == "  " and line[2] != " "]
    assert names == [*sorted(entry["name"] for entry in wf("list", "losses", "--json").json()), "torch/..."]
    assert all(len(line) <= 80 for line in lines)
    assert "(also focal-loss)" in "\n".join(lines)


def test_catalogue_is_one_line_unless_all_is_given(wf: Any) -> None:
    closed, opened = wf("list", "models").stdout, wf("list", "models", "--all").stdout
    assert "torchvision/..." in closed
    assert "wf list model --all" in closed
    assert "torchvision/resnet18" not in closed
    assert "torchvision/resnet18" in opened
    assert "torchvision/..." not in opened
    names = [entry["name"] for entry in wf("list", "models", "--all", "--json").json()]
    assert len([name for name in names if name.startswith("torchvision/")]) == 121


def test_search_looks_into_names_summaries_aliases_and_catalogues(wf: Any) -> None:
    def found(word: str) -> set[str]:
        return {entry["name"] for entry in wf("list", "--search", word, "--json").json()}

    assert found("RESNET18") == {"torchvision/resnet18", "torchvision/quantized_resnet18"}
    assert "weighted-ce" in found("class weights")
    assert "l1" in found("mae")
    empty = wf("list", "--search", "no such thing")
    assert (empty.code, empty.stdout, empty.stderr) == (0, "", "wf: nothing found for 'no such thing'\n")


# --fits


def fitting(wf: Any, *args: str) -> list[str]:
    return [entry["name"] for entry in wf("list", *args, "--json").json()]


OF_NUMBERS = [
    "cnn",
    "lenet",
    "linear",
    "linear-regression",
    "lstm",
    "mlp",
    "rnn",
    "tabular",
    "tcn",
    "text-encoder",
    "unet",
]
"""The models that can return numbers."""


@pytest.mark.parametrize(
    ("kind", "other", "names"),
    [
        ("losses", "digits", ["bce", "bce-logits", "ce", "focal", "l1", "mse", "nll", "nt-xent", "sum", "weighted-ce"]),
        ("losses", "diabetes", ["l1", "mse", "sum"]),
        ("metrics", "dataset/diabetes", ["mae", "mase", "mse", "r2", "rmse", "smape"]),
        ("transforms", "iris", ["mixup", "scale", "standardize"]),
        ("losses", "transform/mixup", ["bce", "bce-logits", "ce", "l1", "mse", "sum"]),
        ("optimizers", "supervised", ["adam", "adamw", "rmsprop", "sgd"]),
        ("trainer", "adam", ["contrastive", "graphed", "supervised"]),
        ("trainers", "scheduler/plateau", ["contrastive", "graphed", "supervised"]),
        ("datasets", "metrics/mse", ["diabetes", "line", "series", *("csv", "npz", "random")]),
        (
            "dataset",
            "torchvision/resnet18",
            ["cifar10", "digits", "digits-multilabel", "fashion-mnist", "image-folder", "mnist", "npz", "random"],
        ),
        ("models", "loss/mse", OF_NUMBERS),
        ("models", "mse", OF_NUMBERS),
    ],
)
def test_fits_lists_the_fitting_components(wf: Any, kind: str, other: str, names: list[str]) -> None:
    found = set(fitting(wf, kind, "--fits", other))
    assert {name for name in found if "/" not in name} == set(names)


def test_fits_as_json(wf: Any) -> None:
    entries = wf("list", "datasets", "--fits", "focal", "--json").json()
    assert all(list(entry) == [*COMPONENT_KEYS, "fits", "why"] for entry in entries)
    said = {entry["name"]: (entry["fits"], entry["why"]) for entry in entries}
    assert said["digits"] == (True, [])
    assert said["csv"] == (None, ["the form of the targets depends on the data"])
    assert "diabetes" not in said


def test_fits_for_reading(wf: Any) -> None:
    assert wf("list", "losses", "--fits", "diabetes").stdout == (
        "loss: a module or function of (predictions, targets) that gives a scalar to minimise\n"
        "  l1         wf-losses  mean absolute error (also mae, l1-loss)\n"
        "  mse        wf-losses  mean squared error (also l2, mse-loss)\n"
        "  sum        wf-losses  the weighted sum of several losses, with given or learned weights\n"
        "  torch/...  wf-torch   5 names (wf list loss --all --fits diabetes)\n"
    )
    result = wf("list", "datasets", "--fits", "loss/mse")
    assert result.stdout.endswith("\n\nunknown for csv, npz, random: the form of the targets depends on the data\n")
    kinds = [
        line.partition(":")[0] for line in wf("list", "--fits", "digits").stdout.splitlines() if line[:1].isalpha()
    ]
    assert kinds == ["transform", "model", "loss", "metric"]


def test_fits_counts_the_members_of_a_catalogue(wf: Any) -> None:
    closed = wf("list", "models", "--fits", "fashion-mnist").stdout
    assert "torchvision/...  wf-torchvision  92 names (wf list model --all --fits fashion-mnist)" in closed
    assert "torchvision/resnet18" in wf("list", "models", "--all", "--fits", "fashion-mnist").stdout
    assert "torchvision" not in wf("list", "models", "--fits", "iris").stdout
    assert fitting(wf, "models", "--fits", "digits", "--search", "fasterrcnn") == []
    assert fitting(wf, "models", "--fits", "fashion-mnist", "--search", "/resnet18") == ["torchvision/resnet18"]


def test_fits_without_a_match_gives_the_reason(wf: Any, folder: Path) -> None:
    (folder / "hand.py").write_text(
        "from wf import Component, hookimpl\n\nclass Hand:\n    def __init__(self, model): ...\n\n"
        "@hookimpl\ndef wf_components():\n    return [Component('trainer', 'hand', Hand, params=())]\n"
    )
    result = wf("list", "optimizers", "--fits", "hand", "-p", "hand.py")
    assert (result.code, result.stdout) == (0, "")
    assert result.stderr == "wf: no optimizers are known to fit trainer 'hand': the trainer takes no optimizer\n"
    assert wf("list", "optimizers", "--fits", "hand", "-p", "hand.py", "--json").json() == []


@pytest.mark.parametrize("other", ["coco", "torchvision/fasterrcnn_resnet50_fpn", "task/detection"])
def test_no_loss_fits_models_that_compute_their_own_loss(wf: Any, other: str) -> None:
    result = wf("list", "losses", "--fits", other)
    assert (result.code, result.stdout) == (0, "")
    assert "their own losses" in result.stderr or "its own losses" in result.stderr


def test_components_without_traits_are_listed_as_unknown(wf: Any, folder: Path) -> None:
    (folder / "silent.py").write_text(
        "from wf import Component, hookimpl\n\n@hookimpl\ndef wf_components():\n"
        "    return [Component('loss', 'silent', 'no_such_module:Loss')]\n"
    )
    result = wf("list", "losses", "--fits", "diabetes", "-p", "silent.py")
    assert result.stdout.endswith("\n\nunknown for silent: it declares no traits\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "losses --fits csv",
            ["which targets dataset 'csv' has depends on its data", "real targets: l1, mse", "--dry-run"],
        ),
        ("losses --fits house.csv", ["dataset 'csv' has depends on its data"]),
        ("hooks --fits digits", ["hooks and datasets have nothing to do", "wf list losses --fits dataset/digits"]),
        ("--fits progress", ["the traits of a hook do not decide what fits it"]),
        ("datasets --fits mse", ["'mse' is ambiguous", "--fits loss/mse or --fits metric/mse"]),
        ("losses --fits digts", ["unknown component 'digts'", "did you mean 'digits'"]),
        ("losses --fits dataset/digts", ["unknown dataset 'digts'", "did you mean 'digits'"]),
        ("losses --fits model/net.py:Net", ["model 'net-net' declares no traits", "--dry-run"]),
        ("losses --fits", ["--fits", "requires an argument"]),
    ],
)
def test_unanswerable_fits_requests_are_refused(refused: Any, line: str, words: list[str]) -> None:
    refused(f"list {line}", 2, *words)


def test_show_as_json(wf: Any) -> None:
    shown = wf("show", "loss", "focal", "--json").json()
    assert list(shown) == [*COMPONENT_KEYS, "aliases", "traits", "place", "doc", "options"]
    gamma = next(option for option in shown["options"] if option["name"] == "gamma")
    assert (gamma["type"], gamma["required"], gamma["default"], gamma["from_run"]) == ("float", False, 2.0, None)
    assert gamma["help"].startswith("How strongly")
    assert shown["traits"]["predictions"] == "logits"
    assert "focal.py:" in shown["place"]
    assert "Args:" not in shown["doc"]
    assert wf("show", "focal", "--json").json() == shown
    assert wf("show", "focal-loss", "--json").json() == shown
    assert wf("show", "losses/focal", "--json").json() == shown


def test_show_for_reading(wf: Any) -> None:
    text = wf("show", "focal", env={"COLUMNS": "80"}).stdout
    assert text.startswith("loss focal: ")
    assert "provider     wf-losses 0.1.0" in text
    assert "aliases      focal-loss" in text
    assert "--loss.gamma  float, default 2.0\n      How strongly" in text
    assert "--loss.alpha  float or list[float] or null, default @null" in text
    assert all(len(line) <= 80 or ".py:" in line for line in text.splitlines())


def test_show_marks_what_the_run_fills_in_and_what_is_required(wf: Any) -> None:
    assert "--model.num_outputs  int, from the run" in wf("show", "mlp").stdout
    assert "required" in wf("show", "dataset", "csv").stdout
    csv = {option["name"]: option for option in wf("show", "dataset", "csv", "--json").json()["options"]}
    assert csv["target"]["required"]
    mlp = {option["name"]: option for option in wf("show", "mlp", "--json").json()["options"]}
    assert (mlp["num_outputs"]["from_run"], mlp["num_outputs"]["required"]) == ("num_outputs", False)


def test_options_of_list_kinds_are_shown_with_the_component_name(wf: Any) -> None:
    assert "--hook.early-stopping.patience  int, default" in wf("show", "early-stopping").stdout


def test_show_source(wf: Any) -> None:
    source = wf("show", "focal", "--source").stdout
    assert source.startswith("class FocalLoss")
    assert "def forward" in source


def test_show_user_code(wf: Any, folder: Path) -> None:
    text = wf("show", "loss", "my.py:times").stdout
    assert text.startswith("loss my-times\n")
    assert "provider  own code" in text
    assert "place     my.py:4" in text
    assert "--loss.factor  float, default 1.0\n      What it is multiplied by." in text
    net = wf("show", "model", "net.py:Net").stdout
    assert "Base class for all neural network modules" not in net
    assert "--model.outs  int, default 10" in net


def test_show_member_of_a_catalogue(wf: Any) -> None:
    assert "image_size" in wf("show", "torchvision/resnet18").stdout
