"""The recurrent networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from wf.errors import UsageError
from wf_models.recurrent import Recurrent, as_sequence, lstm, rnn

Build = Callable[..., Recurrent]


@pytest.mark.parametrize("build", [rnn, lstm])
@pytest.mark.parametrize("shape", [(6,), (5, 3), (3, 4, 2)])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2, "dropout": 0.2}])
def test_shapes_and_gradients(build: Build, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    model = build(shape, 3, hidden_size=7, **options)
    scores = model(torch.rand(2, *shape))
    assert scores.shape == (2, 3)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_lstm_equals_the_hand_written_one() -> None:
    torch.manual_seed(42)
    model = lstm((5, 3), 2, hidden_size=7)
    torch.manual_seed(42)
    cell, head = nn.LSTM(3, 7, batch_first=True), nn.Linear(7, 2)
    inputs = torch.rand(4, 5, 3)
    outputs, _ = cell(inputs)
    torch.testing.assert_close(model(inputs), head(outputs[:, -1]))


@pytest.mark.parametrize("build", [rnn, lstm])
def test_bidirectional_output_takes_the_last_step_of_each_direction(build: Build) -> None:
    model = build((5, 3), 2, hidden_size=7, bidirectional=True)
    inputs = torch.rand(4, 5, 3)
    outputs, _ = model.cell(inputs)
    last = torch.cat([outputs[:, -1, :7], outputs[:, 0, 7:]], dim=1)
    torch.testing.assert_close(model(inputs), model.head(last))


def test_images_are_read_row_by_row() -> None:
    images = torch.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    sequences = as_sequence(images)
    assert sequences.shape == (2, 4, 6)
    assert torch.equal(sequences[1, 2], images[1, :, 2].flatten())


@pytest.mark.parametrize(("build", "name"), [(rnn, "rnn"), (lstm, "lstm")])
@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5)])
def test_wrong_shapes(build: Build, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=rf"'{name}' takes sequences \[T, F\]") as error:
        build(shape, 3)
    assert str(list(shape)) in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"dropout": 1.5, "num_layers": 2}, "dropout is 1.5"),
        ({"dropout": 0.5}, "set num_layers to 2 or more"),
    ],
)
@pytest.mark.parametrize("build", [rnn, lstm])
def test_bad_options(build: Build, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build((5, 3), 3, **options)


@pytest.mark.parametrize("build", [rnn, lstm])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_ignored(build: Build, bidirectional: bool) -> None:
    torch.manual_seed(0)
    model = build((6,), 3, vocab_size=9, hidden_size=5, bidirectional=bidirectional).eval()
    tokens = torch.tensor([[4, 1, 7, 0, 0, 0], [2, 3, 4, 5, 6, 7]])
    short = model(tokens[:1, :3])
    torch.testing.assert_close(model(tokens)[:1], short)
    assert not torch.allclose(model(tokens)[1:], model(tokens[1:, :3]))


def test_an_empty_text_gives_a_finite_prediction() -> None:
    model = lstm((4,), 3, vocab_size=9)
    assert torch.isfinite(model(torch.zeros(2, 4, dtype=torch.int64))).all()


def test_tokens_equal_the_hand_written_lstm() -> None:
    torch.manual_seed(42)
    model = lstm((4,), 2, vocab_size=9, embedding_size=3, hidden_size=7)
    torch.manual_seed(42)
    embedding, cell, head = nn.Embedding(9, 3, padding_idx=0), nn.LSTM(3, 7, batch_first=True), nn.Linear(7, 2)
    tokens = torch.randint(1, 9, (5, 4))
    outputs, _ = cell(embedding(tokens))
    torch.testing.assert_close(model(tokens), head(outputs[:, -1]))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [((4, 2), {}, r"takes tokens \[T\]"), ((4,), {"embedding_size": 0}, "embedding_size is 0")],
)
def test_invalid_token_shapes_and_options_are_refused(
    shape: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        rnn(shape, 2, vocab_size=9, **options)
