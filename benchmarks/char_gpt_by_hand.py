"""A character-level GPT on the bundled Opticks, trained by a hand-written loop in the style of nanoGPT.

    python benchmarks/char_gpt_by_hand.py [--small] [--steps N] [--threads N]

It prints the loss of the last batch, the loss on the validation split and the time per step. Only the text and the
order of the blocks come from wf. Measured before wf had a language model, with torch 2.14.1, one thread:

                     last batch   validation   perplexity
    after 1000 steps     1.5586       1.7511        5.761
    --small, 200 steps   2.5421       2.5032       12.221
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from wf_base import stream

TEXT = Path(__file__).parents[1] / "plugins/text/src/wf_text/opticks.txt"
WEIGHT_DECAY, SEED = 0.1, 0


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of the model and of the training."""

    layers: int
    heads: int
    width: int
    block: int
    batch: int
    lr: float
    steps: int


RECIPE = Size(layers=4, heads=4, width=128, block=64, batch=12, lr=1e-3, steps=1000)
"""Close to nanoGPT's settings for a laptop without a GPU."""
SMALL = Size(layers=2, heads=4, width=64, block=64, batch=8, lr=3e-3, steps=200)
"""The size for a test."""


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        num, length, width = x.shape
        q, k, v = (
            part.view(num, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.project(y.transpose(1, 2).reshape(num, length, width))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads)
        self.norm_2 = nn.LayerNorm(width, bias=False)
        self.expand = nn.Linear(width, 4 * width, bias=False)
        self.project = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.project(F.gelu(self.expand(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self, vocab_size: int, layers: int, heads: int, width: int, block: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(block, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                scale = 1 / math.sqrt(2 * layers) if name.endswith("project") else 1
                nn.init.normal_(module.weight, std=0.02 * scale)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def splits(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tokens of the three splits, consecutive parts of the text of 80, 10 and 10 %; and the characters."""
    text = path.read_text(encoding="utf-8")
    characters = sorted(set(text))
    place = {character: number for number, character in enumerate(characters)}
    tokens = torch.tensor([place[character] for character in text])
    first, second = (round(share * len(tokens)) for share in (0.8, 0.9))
    return {"train": tokens[:first], "validation": tokens[first:second], "test": tokens[second:]}, characters


def blocks(tokens: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, [N, block]: consecutive blocks, and the same blocks shifted by one token."""
    num = (len(tokens) - 1) // block
    return tokens[: num * block].view(num, block), tokens[1 : num * block + 1].view(num, block)


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    logits = model(inputs)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def batches(num: int, batch: int, seed: int) -> Iterator[Tensor]:
    """The rows of each batch, in a new order each epoch."""
    for epoch in range(1_000_000):
        yield from torch.randperm(num, generator=stream(seed, "order", epoch)).split(batch)


def train(size: Size, seed: int = SEED) -> tuple[nn.Module, list[Tensor], float]:
    """Train; returns the model, the loss of each step, and the seconds of all steps."""
    parts, characters = splits(TEXT)
    inputs, targets = blocks(parts["train"], size.block)
    torch.manual_seed(seed)
    model = GPT(len(characters), size.layers, size.heads, size.width, size.block)
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.lr, weight_decay=WEIGHT_DECAY)
    model.train()
    losses = []
    begin = time.perf_counter()
    for _, rows in zip(range(size.steps), batches(len(inputs), size.batch, seed), strict=False):
        loss = loss_of(model, inputs[rows], targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return model, losses, time.perf_counter() - begin


@torch.inference_mode()
def validate(model: nn.Module, size: Size) -> float:
    """The mean loss over the tokens of the validation split."""
    model.eval()
    inputs, targets = blocks(splits(TEXT)[0]["validation"], size.block)
    parts = zip(inputs.split(size.batch), targets.split(size.batch), strict=True)
    return sum(loss_of(model, x, y).item() * len(x) for x, y in parts) / len(inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the size of the test")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int, help="the number of torch's threads")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    size = SMALL if options.small else RECIPE
    size = replace(size, steps=options.steps or size.steps)
    model, losses, seconds = train(size)
    loss = validate(model, size)
    print(f"parameters       {sum(param.numel() for param in model.parameters()):,}")
    print(f"last batch loss  {losses[-1]:.4f}")
    print(f"validation loss  {loss:.4f} (perplexity {math.exp(loss):.3f})")
    print(f"time per step    {1000 * seconds / size.steps:.2f} ms")


if __name__ == "__main__":
    main()
