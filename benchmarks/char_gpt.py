"""The time of a step of the character GPT in wf and in a hand-written loop, measured in turn.

    python benchmarks/char_gpt.py [--steps N]

The work is the same as in `char_gpt_by_hand.py`. The run of wf has everything that `wf run` turns on (hooks, records,
run directory, checkpoints) except evaluations, and one more hook, which makes the same step by hand after each step, on
a second model. CPU time (one thread) inside that hook counts for the hand-written loop, all other time for wf. Load on
the machine affects both alike. The weights of both must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import char_gpt_by_hand as by_hand
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from _goals import figure
from _pairs import InPairs
from torch import nn

import wf


def steps_by_hand(model: nn.Module) -> Iterator[None]:
    """Make one step per `next`."""
    size = by_hand.RECIPE
    inputs, targets = by_hand.blocks(by_hand.splits(by_hand.TEXT)[0]["train"], size.block)
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, weight_decay=by_hand.WEIGHT_DECAY)
    for rows in by_hand.batches(len(inputs), size.batch, by_hand.SEED):
        logits = model(inputs[rows])
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets[rows].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, characters = by_hand.RECIPE, by_hand.splits(by_hand.TEXT)[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(by_hand.SEED)
        model = by_hand.GPT(len(characters), size.layers, size.heads, size.width, size.block).train()
    hook = InPairs(model, steps_by_hand(model))
    hooks = ["progress", "learning-rate-log", "divergence-guard", "throughput", hook]
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        run = wf.run(
            dataset={"use": "opticks", "block": size.block},
            model={"use": "gpt", "layers": size.layers, "heads": size.heads, "width": size.width},
            optimizer={"use": "adamw", "lr": size.lr, "weight_decay": by_hand.WEIGHT_DECAY},
            batch_size=size.batch,
            steps=options.steps,
            seed=by_hand.SEED,
            eval_splits=[],
            hook=hooks,
            run_dir=Path(folder, "run"),
        )
    figure("GPT: time of a step, relative to a hand-written loop", hook.report(run.model), "times", at_most=1.02)


if __name__ == "__main__":
    main()
