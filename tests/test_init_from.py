"""Starting a run with the weights of a file or of another run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest, weights
from safetensors.torch import save_file

PLAN = ("--dataset", "iris", "--model", "linear", "--quiet")


class Planted:
    """A pickle of this creates a folder when it is loaded unsafely."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.place,)


@pytest.fixture
def first(wf: Any, tmp_path: Path) -> dict[str, torch.Tensor]:
    """The weights of a run called first."""
    made = wf("run", *PLAN, "--epochs", 2, "--name", "first", "--seed", 7)
    assert made.code == 0, made.stderr
    return weights(tmp_path / "runs" / "first")


@pytest.mark.parametrize("place", ["w.pt", "w.pth", "w.safetensors", "first", "runs/first", "latest"])
def test_a_run_starts_with_the_given_weights(
    wf: Any, tmp_path: Path, first: dict[str, torch.Tensor], place: str
) -> None:
    file = tmp_path / place
    if file.suffix:
        (save_file if file.suffix == ".safetensors" else torch.save)(first, file)  # type: ignore[operator]  # both do
    begun = wf("run", *PLAN, "--init-from", place, "--steps", 0, "--name", "second")
    assert begun.code == 0, begun.stderr
    run = tmp_path / "runs" / "second"
    found = weights(run)
    assert all(torch.equal(found[name], first[name]) for name in first)
    assert manifest(run)["init_from"].keys() == {"source", "weights"}
    assert f'init_from = "{place}"' in (run / "run.toml").read_text()


def test_init_from_takes_the_kept_best_weights(wf: Any, tmp_path: Path) -> None:
    kept = ("--epochs", 8, "--lr", 0.1, "--keep", "best", "--monitor", "validation/accuracy")
    assert wf("run", *PLAN, *kept, "--name", "first").code == 0
    begun = wf("run", *PLAN, "--init-from", "first", "--steps", 0, "--name", "second")
    assert begun.code == 0, begun.stderr
    first = tmp_path / "runs" / "first"
    best = torch.cat([one.flatten() for one in weights(tmp_path / "runs" / "second").values()])
    last = torch.cat([one.flatten() for one in weights(first).values()])
    assert not torch.equal(best, last)
    assert "checkpoint best" in manifest(tmp_path / "runs" / "second")["init_from"]["source"]


def test_resuming_and_evaluating_do_not_need_the_weights_file(
    wf: Any, tmp_path: Path, first: dict[str, torch.Tensor]
) -> None:
    torch.save(first, tmp_path / "w.pt")
    assert wf("run", *PLAN, "--init-from", "w.pt", "--steps", 3, "--name", "second").code == 0
    (tmp_path / "w.pt").unlink()
    assert wf("evaluate", "second").code == 0
    resumed = wf("resume", "second", "--epochs", 2, "--quiet")
    assert resumed.code == 0, resumed.stderr
    assert manifest(tmp_path / "runs" / "second")["init_from"]["source"] == "w.pt"


def test_mismatched_tensors_are_named_and_nothing_is_written(
    wf: Any, tmp_path: Path, first: dict[str, torch.Tensor]
) -> None:
    name, *_ = first
    wrong = {**{key: value for key, value in first.items() if key != name}, "head.weight": torch.ones(2, 3)}
    last = next(reversed(first))
    wrong[last] = torch.ones(1, 1, 7)
    torch.save(wrong, tmp_path / "w.pt")
    refused = wf("run", *PLAN, "--init-from", "w.pt", "--name", "second")
    assert refused.code == 2
    for words in (f"missing: {name} float32", "unexpected: head.weight float32 [2, 3]", f"{last} float32 [1, 1, 7]"):
        assert words in refused.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["first", "latest"]


def test_weights_that_are_not_finite_are_named(wf: Any, tmp_path: Path, first: dict[str, torch.Tensor]) -> None:
    name = list(first)[-1]
    torch.save(first | {name: first[name] / 0}, tmp_path / "w.pt")
    refused = wf("run", *PLAN, "--init-from", "w.pt")
    assert (refused.code, f"the weights from w.pt are not finite: {name}\n" in refused.stderr) == (2, True), (
        refused.stderr
    )


def test_a_pickle_with_code_is_not_executed(wf: Any, tmp_path: Path) -> None:
    for number, save in enumerate((torch.save, lambda value, file: file.write_bytes(pickle.dumps(value)))):
        save({"weight": Planted(tmp_path / "planted")}, tmp_path / f"w{number}.pt")
        refused = wf("run", *PLAN, "--init-from", f"w{number}.pt")
        assert refused.code == 2, refused.stderr
        assert "holds more than tensors" in refused.stderr
        assert not (tmp_path / "planted").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, 2, "save the entry 'state_dict'"),
        ([torch.ones(1)], 2, "holds list, not a state_dict"),
        ({"1.weight": torch.ones(3, 4).to_sparse()}, 2, "'1.weight' is a torch.sparse_coo tensor"),
        (b"no such thing", 2, "or is damaged"),
        (b"", 4, "'w.pt' is empty"),
        (None, 4, "there is no file 'w.pt'"),
    ],
)
def test_a_file_without_a_plain_state_dict_is_refused(
    wf: Any, tmp_path: Path, content: Any, code: int, words: str
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "w.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "w.pt")
    refused = wf("run", *PLAN, "--init-from", "w.pt")
    assert (refused.code, words in refused.stderr) == (code, True), refused.stderr
    assert "Warning" not in refused.stderr


def test_unknown_file_types_and_missing_runs_are_refused(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_text("")
    assert "available: .safetensors, .pt, .pth" in wf("run", *PLAN, "--init-from", "w.onnx").stderr
    refused = wf("run", *PLAN, "--init-from", "nothing")
    assert refused.code == 4
    assert "there is no run directory 'nothing'" in refused.stderr


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net."])
def test_a_common_prefix_of_names_is_explained_and_mapped(
    wf: Any, tmp_path: Path, first: dict[str, torch.Tensor], prefix: str
) -> None:
    torch.save({prefix + name: tensor for name, tensor in first.items()}, tmp_path / "w.pt")
    refused = wf("run", *PLAN, "--init-from", "w.pt", "--steps", 0)
    assert refused.code == 2
    assert f"all names begin with '{prefix}'" in refused.stderr
    assert f"--init-map {prefix}=" in refused.stderr
    assert "init-without" not in refused.stderr
    begun = wf("run", *PLAN, "--init-from", "w.pt", "--init-map", f"{prefix}=", "--steps", 0, "--name", "second")
    assert begun.code == 0, begun.stderr
    found = weights(tmp_path / "runs" / "second")
    assert all(torch.equal(found[name], first[name]) for name in first)
    assert wf("resume", "second", "--epochs", 1, "--quiet").stderr.count("init_map") == 0


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("module.", "is not of the form OLD=NEW"),
        ("mod.=", "unknown beginning of a name 'mod.'"),
        ("1.bias=1.weight", "would be called '1.weight'"),
    ],
)
def test_invalid_mappings_are_refused(
    wf: Any, tmp_path: Path, first: dict[str, torch.Tensor], rules: str, words: str
) -> None:
    torch.save(first, tmp_path / "w.pt")
    refused = wf("run", *PLAN, "--init-from", "w.pt", "--init-map", rules)
    assert (refused.code, words in refused.stderr) == (2, True), refused.stderr


def wider(tensors: dict[str, torch.Tensor], layer: str) -> dict[str, torch.Tensor]:
    """The same weights except for one layer, which has seven classes."""
    return {
        name: torch.zeros(7, *tensor.shape[1:]) if name.startswith(layer) else tensor
        for name, tensor in tensors.items()
    }


def test_a_head_of_another_size_is_randomly_initialized(wf: Any, tmp_path: Path) -> None:
    plan = ("--dataset", "iris", "--model.hidden", "[8]", "--steps", 0)
    assert wf("run", *plan, "--name", "first", "--seed", 7).code == 0
    other = weights(tmp_path / "runs" / "first")
    first, last = sorted({name.rpartition(".")[0] for name in other})
    torch.save(wider(other, last), tmp_path / "w.pt")
    taken = wf("run", *plan, "--init-from", "w.pt", "--name", "second")
    assert taken.code == 0, taken.stderr
    told = f"2 tensors taken; randomly initialized: {last}.weight [3, 8], {last}.bias [3]; left out: "
    assert f"{told}{last}.weight [7, 8], {last}.bias [7]" in taken.stderr
    assert wf("run", *plan, "--name", "drawn").code == 0
    second, drawn = weights(tmp_path / "runs" / "second"), weights(tmp_path / "runs" / "drawn")
    for name, tensor in second.items():
        assert torch.equal(tensor, (drawn if name.startswith(last) else other)[name])
    torch.save(wider(other, first), tmp_path / "w.pt")
    refused = wf("run", *plan, "--init-from", "w.pt")
    assert refused.code == 2
    assert f"keep the random weights of these layers: --init-without {first}" in refused.stderr
    begun = wf("run", *plan, "--init-from", "w.pt", "--init-without", first, "--name", "third")
    assert begun.code == 0, begun.stderr
    third = weights(tmp_path / "runs" / "third")
    assert all(
        torch.equal(tensor, (drawn if name.startswith(first) else other)[name]) for name, tensor in third.items()
    )


def test_a_run_with_another_number_of_classes(wf: Any, tmp_path: Path) -> None:
    line = ("--dataset", "random", "--dataset.input_shape", "[4]", "--steps", 1, "--quiet")
    assert wf("run", *line, "--dataset.classes", 5, "--name", "first").code == 0
    taken = wf("run", *line, "--dataset.classes", 3, "--init-from", "first", "--name", "second")
    assert taken.code == 0, taken.stderr
