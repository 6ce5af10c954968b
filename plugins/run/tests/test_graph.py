"""The graph of a run: providers of values, their needs and the resulting order."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wf as package
from wf.declarations.values import VALUES
from wf.errors import UsageError
from wf_run.graph import COMES_WITH, PROVIDERS, ROOTS, needs_of

SHORT: dict[str, Any] = {"dataset": "iris", "epochs": 1, "save": False, "quiet": True, "hook": []}


def test_every_need_has_a_provider_and_there_is_no_cycle() -> None:
    provided = {*PROVIDERS, *COMES_WITH}
    graph = {name: {COMES_WITH.get(need, need) for need in needs_of(name)} for name in PROVIDERS}
    assert not {need for needs in graph.values() for need in needs} - provided
    assert {*TopologicalSorter(graph).static_order()} == {*PROVIDERS}  # raises an error for a cycle
    assert {*ROOTS} <= {*PROVIDERS}
    assert not [name for name in provided if not name.startswith("run.") and name not in VALUES]


def test_each_value_is_made_by_one_function() -> None:
    functions = [function for _, function in PROVIDERS.values()]
    assert len(functions) == len(set(functions))


ENDS: list[str] = []


class Ending:
    """A strategy of one process that records when it is closed."""

    def __new__(cls, device: torch.device) -> Any:
        made = package.create("strategy", "local", device=device)
        made.close = lambda: ENDS.append("strategy")
        return made


def test_parts_are_closed_in_reverse_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ENDS.clear()
    monkeypatch.setattr("wf_data.serving.RunData.close", lambda self: ENDS.append("data"))
    experiment = package.build(**{**SHORT, "save": True}, strategy=Ending)
    made = experiment.run_dir
    assert made is not None
    assert made.is_dir()
    experiment.close()
    assert ENDS == ["data", "strategy"]
    assert not made.exists()  # it was left empty


def test_random_draws_of_a_plugin_do_not_change_the_weights(tmp_path: Path) -> None:
    """A hook needs a value whose provider draws random numbers and needs the parameters: the run keeps its bits."""
    (tmp_path / "drawing.py").write_text(
        "import torch\n"
        "from wf import Component, RunValue, hookimpl\n"
        "def noise(params):\n"
        "    return torch.randn(len(params))\n"
        "class Shown:\n"
        "    def __init__(self, noise):\n"
        "        self.noise = noise\n"
        "@hookimpl\n"
        "def wf_values():\n"
        "    return [RunValue(name='noise', type='Tensor', provider=noise)]\n"
        "@hookimpl\n"
        "def wf_components():\n"
        "    return [Component(kind='hook', name='shown', target=Shown)]\n"
    )
    runs = [
        package.run(**{**SHORT, **own}, trainer="supervised", model={"use": "mlp", "dropout": 0.5})
        for own in ({}, {"plugins": [str(tmp_path / "drawing.py")], "hook": ["shown"]})
    ]
    one, other = (run.model.state_dict() for run in runs)
    assert len(runs[1].values["noise"]) == len(list(runs[1].model.parameters()))
    assert all(torch.equal(one[name], other[name]) for name in one)


class Cached:
    """A dataset that would use the run directory, which needs the dataset's name."""

    def __new__(cls, run_dir: Path | None) -> Any:
        assert run_dir is None
        return torch.rand(30, 4), torch.arange(30) % 3


def test_optional_values_not_yet_made_are_none(tmp_path: Path) -> None:
    experiment = package.build(dataset=Cached, run_dir=tmp_path / "run", epochs=1, quiet=True)
    with experiment:
        assert experiment.run_dir == tmp_path / "run"


class Circular(nn.Linear):
    """A model that asks for its own parameters."""

    def __init__(self, params: Any) -> None:
        super().__init__(4, 3)


def test_a_cycle_is_reported_with_its_chain() -> None:
    with pytest.raises(UsageError) as error:
        package.build(**{**SHORT, "model": Circular})
    assert "'model' needs itself: model needs params needs model" in str(error.value)
