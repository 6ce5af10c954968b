"""A run of `texts` has the bits of a hand-written script."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import texts_by_hand as by_hand
import torch


def test_texts_has_the_bits_of_the_hand_written_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"LAYERS": 1, "WIDTH": 16, "BATCH": 8}.items():
        monkeypatch.setattr(by_hand, name, size)
    by_hand.write(tmp_path / "authors.csv")
    model, steps = by_hand.by_hand(tmp_path / "authors.csv")
    next(islice(steps, 5, None))
    made = by_hand.run(tmp_path / "authors.csv", 6, hook=[], save=False, quiet=True)
    assert made.model.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], tensor), name
