from __future__ import annotations

import copy
from typing import Any

import pytest

from wf.declarations.conditions import CONDITIONS
from wf.errors import UsageError
from wf_run.resuming.drift import ALL, check, compare, unknown_in

MANIFEST: dict[str, Any] = {
    "device": "cuda:0",
    "device_name": "A, AVX2",
    "threads": 4,
    "world_size": 1,
    "precision": {"default_dtype": "float32", "float32_matmul": "highest"},
    "determinism": {"cudnn_benchmark": False},
    "versions": {"wf": "0.1.0", "python": "3.11.7", "torch": "2.14.1+cu130", "numpy": "2.4.0"},
    "schema": 1,
    "components": [
        {"kind": "loss", "name": "ce", "target": "wf_losses:CE", "plugin": "wf-losses", "version": "0.1.0"},
        {"kind": "model", "name": "net.py:Net", "target": "/old/net.py:Net", "plugin": None, "version": None},
    ],
    "dataset": {"train": "ab", "test": "cd"},
    "run_file": {
        "epochs": 4,
        "split": "70/15/15",
        "batch_size": 32,
        "optimizer": {"use": "adam", "lr": 0.1, "base": {"use": "sgd", "lr": 1}},
        "hook": [{"use": "early-stopping", "patience": 3}, {"use": "progress"}],
        "dataset": {"use": "csv", "path": "data/points.csv"},
    },
    "code": [{"file": "net.py", "sha256": "1" * 64}],
    "plugin_code": {"wf-losses": "3" * 64},
}

CHANGES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "dataset": (("dataset", "test"), "ce", "test cd, is ce"),
    "code": (("code", 0, "sha256"), "2" * 64, "net.py 111111111111"),
    "plugin-code": (("plugin_code", "wf-losses"), "4" * 64, "wf-losses 333333333333"),
    "components": (("components", 0, "target"), "wf_losses:Other", "loss ce CE of wf-losses"),
    "world-size": (("world_size",), 2, "was 1, is 2"),
    "device": (("device",), "cpu", "was cuda, is cpu"),
    "precision": (("precision", "float32_matmul"), "medium", "float32_matmul highest, is medium"),
    "torch": (("versions", "torch"), "2.15.0", "was 2.14, is 2.15"),
    "schema": (("schema",), 2, "was 1, is 2"),
    "torch-build": (("versions", "torch"), "2.14.2+cu130", "2.14.1+cu130, is 2.14.2+cu130"),
    "device-name": (("device_name",), "B", "A, AVX2, is B"),
    "determinism": (("determinism", "cudnn_benchmark"), True, "cudnn_benchmark False, is True"),
    "plugin-versions": (("components", 0, "version"), "0.2.0", "loss ce 0.1.0, is 0.2.0"),
    "wf": (("versions", "wf"), "0.2.0", "0.1.0, is 0.2.0"),
    "python": (("versions", "python"), "3.12.0", "3.11.7, is 3.12.0"),
    "numpy": (("versions", "numpy"), "2.5.0", "2.4.0, is 2.5.0"),
    "threads": (("threads",), 2, "was 4, is 2"),
    "run-file": (("run_file", "batch_size"), 64, "batch_size 32, is 64"),
}


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(MANIFEST)
    place: Any = found
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


def test_every_condition_is_tested() -> None:
    assert {*CHANGES, "state"} == {condition.name for condition in CONDITIONS.values()}


def test_equal_manifests_do_not_drift() -> None:
    assert compare(MANIFEST, copy.deepcopy(MANIFEST)) == []
    assert unknown_in(MANIFEST) == []


@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_is_an_error_or_a_warning_by_the_table(name: str) -> None:
    path, value, words = CHANGES[name]
    now = changed(path, value)
    found = {drift.name: drift for drift in compare(MANIFEST, now)}
    assert words in str(found[name])
    level = next(condition.level for condition in CONDITIONS.values() if condition.name == name)
    if name == "threads":  # with an accelerator, threads only prepare data
        assert found[name].level == "warning"
    elif level == "warning":
        assert [drift.name for drift in check(MANIFEST, now, [], "runs/a")] == [name]
    else:
        with pytest.raises(UsageError, match=f"--allow-drift {name}"):
            check(MANIFEST, now, [], "runs/a")
    assert found.keys() <= {name, "torch-build"}
    assert check(MANIFEST, now, [name], "runs/a") == check(MANIFEST, now, [ALL], "runs/a") == list(found.values())


def test_all_differences_are_reported_together() -> None:
    now = {**changed(("schema",), 2), "device": "cpu", "threads": 2, "device_name": "B"}
    with pytest.raises(UsageError) as refused:
        check(MANIFEST, now, ["device"], "runs/a")
    for words in ("was 1, is 2", "OMP_NUM_THREADS", "--allow-drift threads,schema"):
        assert words in str(refused.value)
    assert "cuda" not in str(refused.value)


def test_world_size_is_fixed_for_run_files_of_format_1() -> None:
    before = {**MANIFEST, "world_size": 2}
    before["run_file"] = {name: value for name, value in MANIFEST["run_file"].items() if name != "format"}
    now = {**before, "world_size": 4, "threads": 1, "run_file": {**before["run_file"], "format": 1}}
    with pytest.raises(UsageError, match="world-size: was 2, is 4"):
        check(before, now, [], "runs/a")
    before["run_file"]["format"] = 2
    with pytest.raises(UsageError, match="run-file: was format 2, is 1"):
        check(before, now, [], "runs/a")
    now["run_file"]["format"] = 2
    found = {drift.name: drift.level for drift in check(before, now, [], "runs/a")}
    assert found == {"world-size": "warning", "threads": "warning"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run_file", "epochs"), 8),
        (("run_file", "optimizer", "use"), "adam@wf-optimizers"),
        (("run_file", "hook", 1, "use"), "progress@wf-tracking"),
        (("run_file", "optimizer", "new_option"), 3),
        (("run_file", "log_every"), 100),
        (("run_file", "dataset", "path"), "/elsewhere/points.csv"),
        (("components", 1, "target"), "/runs/a/code/net.py:Net"),
        (("code", 0, "file"), "net-11111111.py"),
        (("device",), "cuda:1"),
        (("precision",), None),
    ],
)
def test_changes_without_effect_on_bits_are_no_drift(path: tuple[Any, ...], value: Any) -> None:
    assert compare(MANIFEST, changed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("run_file", "optimizer", "lr"), 0.2, "optimizer.lr 0.1, is 0.2"),
        (("run_file", "optimizer", "base", "lr"), 2, "optimizer.base.lr 1, is 2"),
        (("run_file", "optimizer", "lr"), None, "optimizer.lr 0.1, is not there"),
        (("run_file", "hook", 0, "patience"), 5, "hook.early-stopping.patience 3, is 5"),
        (("run_file", "hook", 0), None, "hook early-stopping, progress, is progress"),
        (("run_file", "scheduler"), {"use": "step"}, "scheduler.use not there, is step"),
        (("run_file", "log_every"), 7, "log_every not there, is 7"),
        (("run_file", "fold"), "1/5", "fold not there, is 1/5"),
        (("run_file", "split"), "60/25/15", "split 70/15/15, is 60/25/15"),
        (("run_file", "optimizer", "use"), "torch/adam", "optimizer.use adam, is torch/adam"),
    ],
)
def test_edits_of_the_run_file_are_named(path: tuple[Any, ...], value: Any, words: str) -> None:
    assert words in "\n".join(map(str, compare(MANIFEST, changed(path, value))))


def test_conditions_missing_in_an_older_manifest_are_unknown() -> None:
    old = {key: MANIFEST[key] for key in ("device", "threads", "world_size", "versions", "components", "code")}
    old["versions"] = {"wf": "0.1.0", "python": "3.11.7", "torch": "2.14.1+cu130"}
    assert compare(old, MANIFEST) == []
    assert unknown_in(old) == [
        "dataset",
        "run-file",
        "plugin-code",
        "precision",
        "schema",
        "device-name",
        "determinism",
        "numpy",
    ]


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'threads'"):
        check(MANIFEST, MANIFEST, ["thread"], "runs/a")


def test_a_moved_component_is_no_drift() -> None:
    now = changed(("components", 0), {**MANIFEST["components"][0], "target": "new:CE", "plugin": "new"})
    part = now["components"][0]
    assert "loss ce CE of wf-losses, is CE of new" in "\n".join(map(str, compare(MANIFEST, now)))
    part["moved_from"] = {"wf-losses": "wf_losses:CE"}
    assert compare(MANIFEST, now) == compare(now, copy.deepcopy(now)) == []
    part["moved_from"] = {"wf-losses": "wf_losses:Other"}
    assert [drift.name for drift in compare(MANIFEST, now)] == ["components"]
    now = changed(("components", 0), {**MANIFEST["components"][0], "target": "wf_losses.classes.ce:CE"})
    assert compare(MANIFEST, now) == []  # another module of the same plugin
