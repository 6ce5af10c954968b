"""Other libraries' training loops for the work of `loop_overhead.py`, each written as its documentation shows.

Progress bars, loggers and checkpoints are turned off if there is a switch for them, so that only the overhead of each
library on the same forward, loss, backward and update is measured.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from loop_overhead import Variant, Work
from torch import nn


class Batches:
    """The batches as an iterable that is not a list: Lightning treats a list as several loaders."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def ignite_engine(work: Work, epochs: int) -> nn.Module:
    """`ignite.engine.Engine` with a custom step."""
    from ignite.engine import Engine

    model, loss_of, update = work.parts()
    model.train()

    def step(_engine: Any, batch: Any) -> Any:
        x, y = batch
        loss = loss_of(model(x), y)
        update.zero_grad()
        loss.backward()
        update.step()
        return loss.detach()

    Engine(step).run(work.data, max_epochs=epochs)
    return model


def ignite_supervised(work: Work, epochs: int) -> nn.Module:
    """`ignite.engine.create_supervised_trainer`."""
    from ignite.engine import create_supervised_trainer

    model, loss_of, update = work.parts()
    trainer = create_supervised_trainer(model, update, loss_of, output_transform=lambda x, y, y_pred, loss: loss)
    trainer.run(work.data, max_epochs=epochs)
    return model


def accelerate(work: Work, epochs: int) -> nn.Module:
    """A loop with `accelerate.Accelerator`."""
    from accelerate import Accelerator

    model, loss_of, update = work.parts()
    accelerator = Accelerator(cpu=True)
    prepared, update = accelerator.prepare(model, update)
    prepared.train()
    for _ in range(epochs):
        for x, y in work.data:
            loss = loss_of(prepared(x), y)
            update.zero_grad()
            accelerator.backward(loss)
            update.step()
    return model


def lightning(work: Work, epochs: int) -> nn.Module:
    """`pytorch_lightning.Trainer` with a custom module."""
    import pytorch_lightning

    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss_of, self.update = work.parts()

        def training_step(self, batch: Any, _number: int) -> Any:
            x, y = batch
            return self.loss_of(self.model(x), y)

        def configure_optimizers(self) -> Any:
            return self.update

    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        module = Module()
        pytorch_lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(module, Batches(work.data))
    return module.model


def skorch(work: Work, epochs: int) -> nn.Module:
    """`skorch.NeuralNetRegressor` without callbacks and validation."""
    from skorch import NeuralNetRegressor

    model, _, update = work.parts()
    x, y = (torch.cat(tensors) for tensors in zip(*work.data, strict=True))
    net = NeuralNetRegressor(
        model,
        max_epochs=epochs,
        batch_size=work.batch_size,
        optimizer=type(update),
        lr=1e-3,
        train_split=None,
        callbacks="disable",
        verbose=0,
    )
    net.fit(x, y)
    return net.module_


PEERS: dict[str, tuple[str, Variant]] = {
    "ignite Engine": ("ignite", ignite_engine),
    "ignite supervised": ("ignite", ignite_supervised),
    "Accelerate": ("accelerate", accelerate),
    "Lightning": ("pytorch_lightning", lightning),
    "skorch": ("skorch", skorch),
}
"""The peers by name: the package that each needs, and its loop."""


def installed_peers() -> dict[str, Variant]:
    """The peers whose package is installed; prints the missing packages."""
    missing = sorted({package for package, _ in PEERS.values() if importlib.util.find_spec(package) is None})
    if missing:
        print(f"not installed, so not measured: {', '.join(missing)} (pip install -r requirements-bench.txt)\n")
    return {name: variant for name, (package, variant) in PEERS.items() if package not in missing}
