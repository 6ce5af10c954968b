"""A run of `gpt` on the bundled text has the bits and the loss of a hand-written loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import char_gpt_by_hand as by_hand
import pytest
import torch

import wf

STATED = 2.5032
"""The validation loss of the small size by hand, as `benchmarks/char_gpt_by_hand.py` states it."""


def run(size: by_hand.Size, **settings: Any) -> Any:
    dataset = {"use": "opticks", "block": size.block, **settings.pop("dataset", {})}
    model = {"use": "gpt", "layers": size.layers, "heads": size.heads, "width": size.width}
    optimizer = {"use": "adamw", "lr": size.lr, "weight_decay": by_hand.WEIGHT_DECAY}
    parts = {"dataset": dataset, "model": model, "optimizer": optimizer, "hook": []}
    general = {"steps": size.steps, "batch_size": size.batch, "seed": by_hand.SEED, "save": False, "quiet": True}
    return wf.run(**{**parts, **general, "log_every": 1, "eval_splits": ["validation"], **settings})


def test_gpt_has_the_bits_of_the_hand_written_loop() -> None:
    size = replace(by_hand.SMALL, steps=12)
    model, losses, _ = by_hand.train(size)
    made = run(size)
    assert [record["loss"] for record in made.history if record["event"] == "train"] == [one.item() for one in losses]
    assert made.model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], tensor), name
    assert made.metrics["validation/loss"] == pytest.approx(by_hand.validate(model, size), rel=1e-6)


@pytest.mark.exhaustive
def test_gpt_reaches_the_documented_loss() -> None:
    made = run(by_hand.SMALL)
    assert made.metrics["validation/loss"] == pytest.approx(STATED, abs=5e-5)
    assert made.metrics["validation/perplexity"] == pytest.approx(12.221, abs=1e-3)
