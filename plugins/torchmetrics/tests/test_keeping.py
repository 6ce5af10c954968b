"""Keeping the best weights by a figure of the library."""

from __future__ import annotations

from pathlib import Path

import torch

import wf


def test_the_best_by_a_figure_whose_name_has_a_slash(tmp_path: Path) -> None:
    x = torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
    name = "torchmetrics/MulticlassAccuracy"
    done = wf.run(
        dataset=(x, (x.sum(1) > 0).long()),
        model="linear",
        optimizer={"use": "sgd", "lr": 8.0},
        metric=name,
        hook=[{"use": "early-stopping", "monitor": f"validation/{name}", "patience": 50}],
        scheduler={"use": "plateau", "monitor": f"validation/{name}"},
        keep="best",
        monitor=f"validation/{name}",
        epochs=6,
        batch_size=16,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    values = [record[name] for record in done.history[:-3] if record["event"] == "eval"]
    assert len(set(values)) > 1
    assert done.loop.best == max(values) == done.metrics[f"validation/{name}"]
