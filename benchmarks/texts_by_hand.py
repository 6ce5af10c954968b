"""Text classification: the time of a step in wf and in a hand-written script, measured in turn.

    python benchmarks/texts_by_hand.py [--steps N]

The data are 2,100 sentences of three authors, which come with wf; the model is a transformer encoder of two layers. The
script reads a CSV file, makes a vocabulary, pads each batch and trains; only the order of the samples comes from wf.
The run of wf has everything that `wf run` turns on except evaluations, and one more hook, which makes the same step by
hand after each step, on a second model. CPU time (one thread) inside that hook counts for the script, all other time
for wf. The weights of both must be equal bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from _goals import figure
from _pairs import InPairs
from torch import Tensor, nn

import wf
from wf_base import stream

SEED, BATCH, LR, LONGEST = 0, 32, 1e-3, 64
LAYERS, HEADS, WIDTH = 2, 4, 128
WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.project = nn.Linear(WIDTH, WIDTH)
        self.norm_2 = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.contract = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        num, length, width = x.shape
        q, k, v = (
            part.view(num, length, HEADS, width // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.project(y.transpose(1, 2).reshape(num, length, width))
        return x + self.contract(F.gelu(self.expand(self.norm_2(x))))


class Encoder(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(LONGEST, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x, mask.bool()[:, None, None, :])
        return self.norm(x)


class Classifier(nn.Module):
    def __init__(self, vocab_size: int, num_classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(vocab_size)
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x, counted = self.encoder(tokens, mask), mask.unsqueeze(2).float()
        scores: Tensor = self.head((x * counted).sum(1) / counted.sum(1).clamp(min=1))
        return scores


def write(path: Path) -> None:
    """Write the sentences as a CSV table."""
    lines = files("wf_datasets").joinpath("authors.tsv").read_text(encoding="ascii").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((text, author) for author, text in rows)


def read(path: Path) -> tuple[list[Tensor], Tensor, int, int]:
    """The token ids of the texts, their classes, the size of the vocabulary and the number of classes."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    words = [WORD.findall(row["text"].lower()) for row in rows]
    counts = Counter(word for text in words for word in text)
    vocabulary = ["<padding>", "<unknown>", *sorted(counts, key=lambda word: (-counts[word], word))]
    place = {word: number for number, word in enumerate(vocabulary)}
    names = sorted({row["label"] for row in rows})
    texts = [torch.tensor([place[word] for word in text][:LONGEST]) for text in words]
    return texts, torch.tensor([names.index(row["label"]) for row in rows]), len(vocabulary), len(names)


def by_hand(path: Path) -> tuple[nn.Module, Iterator[None]]:
    """A new model, and an iterator that makes a step at each `next`."""
    texts, labels, vocab_size, num_classes = read(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Classifier(vocab_size, num_classes).train()
    return model, steps(model, texts, labels)


def steps(model: nn.Module, texts: Sequence[Tensor], labels: Tensor) -> Iterator[None]:
    """Make one step per `next`."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for epoch in range(1_000_000):
        for rows in torch.randperm(len(texts), generator=stream(SEED, "order", epoch)).split(BATCH):
            tokens = nn.utils.rnn.pad_sequence([texts[row] for row in rows], batch_first=True)
            loss = F.cross_entropy(model(tokens, (tokens > 0).long()), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def run(path: Path, num_steps: int, **settings: Any) -> Any:
    """The same training by wf."""
    return wf.run(
        dataset={"use": "texts", "path": str(path), "max_tokens": LONGEST},
        model={"use": "text-encoder", "layers": LAYERS, "heads": HEADS, "width": WIDTH, "dropout": 0.0},
        optimizer={"use": "adam", "lr": LR},
        batch_size=BATCH,
        steps=num_steps,
        seed=SEED,
        split="100/0/0",
        eval_splits=[],
        **settings,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        path = Path(folder, "authors.csv")
        write(path)
        hook = InPairs(*by_hand(path))
        hooks = ["progress", "learning-rate-log", "divergence-guard", "throughput", hook]
        made = run(path, options.steps, hook=hooks, run_dir=Path(folder, "run"))
    claim = "text classification: time of a step, relative to a hand-written script"
    figure(claim, hook.report(made.model), "times", at_most=1.02)


if __name__ == "__main__":
    main()
