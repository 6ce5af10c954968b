"""The time of a step of a small convolutional network on images, in wf and in a hand-written loop, measured in turn.

    python benchmarks/small_cnn.py [--steps N] [--batch-size N]

The images are in memory as bytes, 3x32x32, and each batch is divided by 255. The run of wf has everything that `wf run`
turns on except evaluations, and one more hook, which makes the same step by hand after each step, on a second model and
on the same samples. CPU time (one thread) inside that hook counts for the hand-written loop, all other time for wf.
Load on the machine affects both alike. The weights of both must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from _goals import figure
from _pairs import InPairs
from torch import Tensor, nn

import wf
from wf_base import Dataset, TensorSamples
from wf_base.random import stream
from wf_models.convolutional import cnn

SEED = 42


def data(num: int) -> tuple[Tensor, Tensor]:
    """Random images with random classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return images, torch.randint(10, (num,), generator=generator)


def steps_by_hand(model: nn.Module, images: Tensor, targets: Tensor, batch_size: int) -> Iterator[None]:
    """Make one step per `next`."""
    optimizer = torch.optim.Adam(model.parameters())
    for rows in torch.randperm(len(images), generator=stream(SEED, "order", 0)).split(batch_size):
        inputs = images.index_select(0, rows).to(torch.float32).div_(255)
        loss = F.cross_entropy(model(inputs), targets.index_select(0, rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images, targets = data(asked.steps * asked.batch_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = cnn(input_shape=(3, 32, 32), num_outputs=10).train()
    hook = InPairs(model, steps_by_hand(model, images, targets, asked.batch_size))
    names = tuple(str(number) for number in range(10))
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        run = wf.run(
            dataset=Dataset(train=TensorSamples(images, targets), targets="class_index", class_names=names),
            model="cnn",
            batch_size=asked.batch_size,
            split="100/0",
            epochs=1,
            seed=SEED,
            eval_splits=[],
            hook=["progress", "learning-rate-log", "divergence-guard", hook],
            run_dir=Path(folder, "run"),
        )
    figure("small CNN: time of a step, relative to a hand-written loop", hook.report(run.model), "times", at_most=1.02)


if __name__ == "__main__":
    main()
