"""The model of tables: numbers beside the embeddings of categories."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_models.mlp import mlp
from wf_models.tabular import Tabular

FACTS = {"numbers": ["age", "size"], "categories": {"town": 30, "kind": 4}}


def test_tabular_equals_the_hand_written_network() -> None:
    torch.manual_seed(42)
    model = Tabular(3, FACTS, hidden=[8])
    torch.manual_seed(42)
    town, kind = nn.Embedding(30, 11, padding_idx=0), nn.Embedding(4, 3, padding_idx=0)
    first, last = nn.Linear(2 + 11 + 3, 8), nn.Linear(8, 3)
    numbers, categories = torch.rand(5, 2), torch.tensor([[1, 1], [29, 3], [0, 2], [7, 0], [0, 0]])
    columns = [numbers, town(categories[:, 0]), kind(categories[:, 1])]
    assert torch.equal(model(numbers=numbers, categories=categories), last(first(torch.cat(columns, 1)).relu()))


def test_embeddings_of_unseen_categories_stay_zero() -> None:
    model = Tabular(1, FACTS, hidden=[8])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.rand(4, 2), torch.tensor([[0, 1], [1, 0], [2, 3], [0, 0]])).sum().backward()
    optimizer.step()
    assert all(not table.weight[0].any() for table in model.embeddings)  # type: ignore[union-attr,operator]
    assert model.embeddings[0].weight.grad[1].any()  # type: ignore[index,union-attr]


def test_numbers_or_categories_alone() -> None:
    torch.manual_seed(42)
    model = Tabular(2, input_shape=(4,))
    torch.manual_seed(42)
    inputs = torch.rand(3, 4)
    torch.manual_seed(42)
    assert torch.equal(model(inputs), mlp((4,), 2)(inputs))
    alone = Tabular(2, {"numbers": [], "categories": {"a": 5}}, embedding_size=3, hidden=[])
    assert alone(categories=torch.tensor([[1], [4]])).shape == (2, 2)
    assert alone.embeddings[0].weight.shape == (5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
        ({"embedding_dropout": -0.5}, "embedding_dropout is -0.5"),
        ({"hidden": [0]}, r"hidden is \[0\]"),
        ({"dataset_facts": None}, "--dataset.embed"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tabular(2, **{"dataset_facts": FACTS, **options})
