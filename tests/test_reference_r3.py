"""R3: Fashion-MNIST, a multilayer perceptron, cross-entropy, plain gradient descent: on the real data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from runs import EXAMPLES, records

BATCHES = 938
ROWS = {
    1: (2.298730, 2.166651, 50.9, 2.166725),
    2: (2.176750, 1.907162, 55.9, 1.915486),
    3: (1.951614, 1.514263, 58.8, 1.541525),
    5: (1.345538, 1.070921, 64.1, 1.089831),
    10: (0.836395, 0.790281, 71.0, 0.787271),
}
"""Epoch: loss at batch 0, at batch 900, test accuracy in percent, test loss."""


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_figures_of_fashion_mnist(wf: Any, tmp_path: Path) -> None:
    done = wf("run", EXAMPLES / "r3_fashion_mnist.toml", "--name", "r3", "--dataset.download", "false", timeout=600)
    if done.code == 4 and not os.environ.get("WF_REQUIRE_FASHION_MNIST"):
        pytest.skip(done.stderr.strip().splitlines()[0] + "; apt-get install dataset-fashion-mnist, or WF_DATA_DIR")
    assert done.code == 0, done.stderr
    run = tmp_path / "runs" / "r3"
    train = {record["step"]: record["loss"] for record in records(run, "train")}
    test = {record["epoch"] + 1: record for record in records(run, "eval", "test")}
    assert len(test) == 10
    for epoch, (first, late, accuracy, loss) in ROWS.items():
        before = (epoch - 1) * BATCHES
        assert train[before + 1] == pytest.approx(first, abs=1e-5)
        assert train[before + 901] == pytest.approx(late, abs=1e-5)
        assert test[epoch]["loss"] == pytest.approx(loss, abs=1e-5)
        assert f"{100 * test[epoch]['accuracy']:.1f}" == str(accuracy)
    for batch in range(0, BATCHES, 100):
        assert batch + 1 in train, "the train loss is not written every 100 batches"
