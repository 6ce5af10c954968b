"""The first session on a CUDA device: every claim about it, in the order of worth, within nine minutes.

    python benchmarks/cuda_session.py [--device cuda] [--minutes 9] [--out cuda.md] [--only NAME ...] [--small]

It needs this checkout with its distributions installed, torch and pytest; the usual script needs PIL and torchvision.
Each part runs in its own process with a limit, and its output is in the file before the next one begins, so that a
session which ends early, or a part that fails, loses nothing else. The table of figures and goals is written anew after
each part. `--device cpu --small` rehearses all parts without a device; the figures mean nothing then.

Where packages cannot be downloaded, make wheels beforehand: `pip wheel --no-deps -w DIR ./corelib ./cli ./plugins/run`
and the rest of requirements.txt; there `pip install --no-deps --no-index --find-links DIR DIR/*.whl`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from _goals import FILE, figure
from faster_by_name import table, trained, usual_script
from torch import Tensor, nn

import wf
from wf.errors import UsageError
from wf_durability.checkpointer import DirectoryCheckpointer
from wf_run.parts.precision import check_tf32, products_in

ROOT = Path(__file__).parents[1]
TESTS = (
    "plugins/training/tests/test_graphed.py",
    "plugins/training/tests/test_precision.py",
    "tests/test_speed.py",
    "tests/test_data_path.py",
)
MARKS = "not exhaustive and not alone and not catalogue"
MLP = {"use": "mlp", "hidden": [512, 512]}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much each part trains on."""

    images: int
    """Images of 28x28 of R3."""
    usual_images: int
    """Of these for the usual script, whose time for a sample does not depend on them."""
    photos: int
    """Images of `side` pixels for ResNet-50, and the size of its batches."""
    photo_batch: int
    side: int
    coloured: int
    """Images of 3x32x32 for the options and the places of data."""
    megabytes: int
    """Weights in the checkpoint."""
    epochs: int


FULL = Sizes(
    images=60_000, usual_images=12_000, photos=1280, photo_batch=128, side=224, coloured=6400, megabytes=1000, epochs=4
)
SMALL = Sizes(images=640, usual_images=256, photos=4, photo_batch=4, side=32, coloured=128, megabytes=10, epochs=2)


def wait(device: str) -> None:
    """Wait for the device."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize()


def tests(device: str, sizes: Sizes) -> None:
    """The tests of the issue about CUDA; a failure is shown in full."""
    files = TESTS if sizes is FULL else TESTS[:1]
    command = [sys.executable, "-m", "pytest", *files, "-q", "-m", MARKS, "-p", "no:cacheprovider"]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(found.stdout[-20_000:])
    failed = re.search(r"(\d+) failed", found.stdout)
    broken = 0 if found.returncode == 0 else 1
    figure("tests about CUDA that fail", int(failed[1]) if failed else broken, "tests", at_most=0)


def resume(device: str, sizes: Sizes) -> None:
    """A run that is interrupted and resumed, beside one that is not: the same bits on this device."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wf_cli", "prove-resume", "--device", device, "--epochs", "2"]
        command += ["--kill-at", "25", "--kill-at", "60"]
        code = subprocess.run(command, cwd=folder).returncode
    figure("wf prove-resume: exit code", code, "", at_most=0)


def r3(device: str, sizes: Sizes) -> None:
    """R3's network, plain and as a graph, beside the usual script on this device."""
    torch.manual_seed(0)
    images = torch.randint(256, (sizes.images, 28, 28), dtype=torch.uint8)
    targets = torch.randint(10, (sizes.images,))
    run = {"dataset": (images.unsqueeze(1), targets), "model": MLP, "batch_size": 64, "device": device}
    steps = sizes.images / 64
    found = {}
    for name, more in (("plain", {}), ("graphed", {"trainer": "graphed"})):
        try:
            watch, _ = trained({**run, "epochs": sizes.epochs, **more})
        except UsageError as error:
            print(f"{name}: {error}")
            continue
        found[name] = watch.epoch_sec()
        print(f"{name}: {found[name]:.3f} s an epoch, {found[name] / steps * 1e6:.0f} µs a step", flush=True)
    if len(found) == 2:
        figure("R3, graphed: speedup over plain steps", found["plain"] / found["graphed"], "times", at_least=1.5)
    try:
        usual = usual_script(images[: sizes.usual_images], targets[: sizes.usual_images], device, 2)
    except ImportError as error:
        print(f"the usual script: not measured, {error}")
        return
    usual *= sizes.images / sizes.usual_images
    print(f"the usual script: {usual:.3f} s an epoch")
    figure("R3: speedup of an epoch over the usual script", usual / min(found.values()), "times", at_least=20)


class Bottleneck(nn.Module):
    """The block of ResNet-50 (He et al. 2016), with the stride in the 3x3 convolution."""

    def __init__(self, width: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = 4 * inner
        self.body = nn.Sequential(
            *convolution(width, inner, 1), nn.ReLU(), *convolution(inner, inner, 3, stride), nn.ReLU(),
            *convolution(inner, outer, 1),
        )  # fmt: skip
        changes = stride > 1 or width != outer
        self.shortcut = nn.Sequential(*convolution(width, outer, 1, stride)) if changes else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """``[N, width, H, W]`` to ``[N, 4 * inner, H / stride, W / stride]``."""
        return torch.relu(self.body(inputs) + self.shortcut(inputs))


def convolution(width: int, outer: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution without bias, and its batch norm."""
    return nn.Conv2d(width, outer, size, stride, size // 2, bias=False), nn.BatchNorm2d(outer)


def resnet50(num_classes: int) -> nn.Sequential:
    """ResNet-50."""
    layers: list[nn.Module] = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    width = 64
    for inner, num, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for place in range(num):
            layers.append(Bottleneck(width, inner, stride if place == 0 else 1))
            width = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def by_hand(device: str, sizes: Sizes, inputs: Tensor, targets: Tensor) -> float:
    """Seconds of an epoch of torch's own loop in bf16, channels last: the median without the first one."""
    torch.manual_seed(0)
    model = resnet50(int(targets.max()) + 1).to(device, memory_format=torch.channels_last)
    optimizer, loss_of = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss()
    inputs, targets = inputs.to(device), targets.to(device)
    seconds = []
    for _ in range(sizes.epochs + 1):
        wait(device)
        begin = time.perf_counter()
        for chosen in torch.randperm(len(inputs), device=device).split(sizes.photo_batch):
            images = inputs.index_select(0, chosen).to(memory_format=torch.channels_last)
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                outputs = model(images)
            loss = loss_of(outputs.float(), targets.index_select(0, chosen))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        wait(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def resnet(device: str, sizes: Sizes) -> None:
    """ResNet-50 in bf16, channels last, images in the device's memory: wf between two runs of torch's own loop."""
    num_classes = min(sizes.photos, 1000)
    inputs, targets = torch.randn(sizes.photos, 3, sizes.side, sizes.side), torch.arange(sizes.photos) % num_classes
    before = by_hand(device, sizes, inputs, targets)
    settings = {
        "dataset": (inputs, targets),
        "model": resnet50(num_classes),
        "batch_size": sizes.photo_batch,
        "device": device,
        "precision": "bf16",
        "trainer": {"use": "supervised", "channels_last": True},
        "optimizer": {"use": "sgd", "lr": 0.1, "momentum": 0.9},
        "epochs": sizes.epochs + 1,
    }
    watch, _ = trained(settings)
    ours = statistics.median([end - begin for begin, end in zip(watch.times[1:], watch.times[2:], strict=False)])
    after = by_hand(device, sizes, inputs, targets)
    print(f"torch's loop {before:.3f} and {after:.3f} s an epoch, wf {ours:.3f}: {sizes.photos / ours:,.0f} images/s")
    figure("ResNet-50, bf16: time relative to torch's own loop", ours / ((before + after) / 2), "times", at_most=1.02)


def data(device: str, sizes: Sizes) -> None:
    """A small CNN on uint8 images held on the device, copied ahead from the host, and read by workers."""
    inputs = torch.randint(256, (sizes.images, 3, 32, 32), dtype=torch.uint8)
    run = {"dataset": (inputs, torch.randint(10, (sizes.images,))), "batch_size": 256, "device": device}
    run |= {"model": {"use": "cnn", "channels": [16, 32]}, "epochs": sizes.epochs}
    found = {}
    for name, more in {
        "device": {"serve_from": "device"},
        "memory": {"serve_from": "memory"},
        "loader": {"serve_from": "loader", "workers": 4 if sizes is FULL else 1},
    }.items():
        try:
            watch, _ = trained({**run, **more})
        except UsageError as error:
            print(f"{name}: {error}")
            continue
        found[name] = watch.epoch_sec()
        print(f"served from {name}: {found[name]:.3f} s an epoch", flush=True)
    if "device" in found:
        figure("batches copied ahead: time relative to data on the device", found["memory"] / found["device"], "times",
               at_most=1.1)  # fmt: skip


def tf32(device: str, sizes: Sizes) -> None:
    """A product of two float32 matrices, with and without tf32."""
    num = 8192 if sizes is FULL else 256
    if torch.device(device).type != "cpu":  # which has no tf32: both are then float32
        check_tf32("tf32", torch.device(device))
    left, right = torch.randn(2, num, num, device=device)

    def seconds() -> float:
        for _ in range(3):
            left @ right
        wait(device)
        begin = time.perf_counter()
        for _ in range(10):
            left @ right
        wait(device)
        return time.perf_counter() - begin

    plain = seconds()
    with products_in("tf32", torch.device(device)):
        fast = seconds()
    figure("product of matrices in tf32: speedup over float32", plain / fast, "times", at_least=2)


def checkpoint(device: str, sizes: Sizes) -> None:
    """How long training waits for a checkpoint, beside a blocking `torch.save` of the same weights."""
    model = nn.ModuleList(nn.Linear(1250, 2000, bias=False) for _ in range(sizes.megabytes // 10)).to(device)
    state = {"parts": {"model": model.state_dict()}}
    stalls, saves = [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpointer = DirectoryCheckpointer(Path(folder) / "run", "validation/loss", {}, keep_last=1)
        for step in range(1, 5):
            wait(device)
            begin = time.perf_counter()
            writing = checkpointer.save(state, {"step": step, "epoch": 0}, {})
            stalls.append(time.perf_counter() - begin)
            writing.result()
            begin = time.perf_counter()
            torch.save(state, Path(folder) / "state.pt")
            saves.append(time.perf_counter() - begin)
    stall, save = statistics.median(stalls[1:]), statistics.median(saves[1:])
    print(f"{sizes.megabytes} MB: first stall {stalls[0]:.3f} s (pinned memory), later {stall:.3f}, save {save:.3f}")
    figure("checkpoint: stall relative to torch.save", stall / save, "times", at_most=0.2)


def options(device: str, sizes: Sizes) -> None:
    """The table of benchmarks/faster_by_name.py: fp16, bf16, tf32, compile, channels last, fused, graphed."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(sizes.coloured, 3, 32, 32), torch.randint(10, (sizes.coloured,))
    settings = {"dataset": (inputs, targets), "model": {"use": "cnn", "channels": [16, 32]}, "batch_size": 64}
    table(device, settings, sizes.epochs)


PARTS: dict[str, tuple[Callable[[str, Sizes], None], int]] = {
    "tests": (tests, 170),
    "r3": (r3, 110),
    "resume": (resume, 90),
    "resnet": (resnet, 100),
    "data": (data, 60),
    "checkpoint": (checkpoint, 60),
    "tf32": (tf32, 30),
    "options": (options, 150),
}
"""The parts in the order of worth, each with its limit in seconds."""


def show(line: str, file: Path) -> None:
    """Print a line and add it to the file."""
    print(line, end="", flush=True)
    with file.open("a", encoding="utf-8") as log:
        log.write(line)


def run_part(name: str, arguments: Sequence[str], limit: float, log: Path, figures: Path) -> str:
    """Run a part in a process and follow its output; returns how it ended."""
    command = [sys.executable, str(Path(__file__)), "--part", name, *arguments]
    environment = {**os.environ, FILE: str(figures), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    stop = threading.Timer(limit, lambda: os.killpg(process.pid, 9))
    stop.start()
    try:
        for line in process.stdout:
            show(line, log)
        code = process.wait()
    finally:
        stop.cancel()
    return "" if code == 0 else f"stopped after {limit:.0f} s" if code == -9 else f"failed with code {code}"


def written(log: Path, out: Path, figures: Path, ends: dict[str, str]) -> None:
    """Write the table of figures and the output of all parts."""
    rows = [json.loads(line) for line in figures.read_text(encoding="utf-8").splitlines()]
    lines = ["| figure | measured | goal | |", "| --- | --- | --- | --- |"]
    lines += [f"| {one['claim']} | {one['value']} | {one['goal']} | {'met' if one['met'] else '**not met**'} |"
              for one in rows]  # fmt: skip
    lines += [f"| {name} | {end} | | **not met** |" for name, end in ends.items() if end]
    out.write_text("\n".join(lines) + "\n\n```text\n" + log.read_text(encoding="utf-8") + "```\n", encoding="utf-8")


def main() -> None:
    """Run all parts, or the asked one in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("cuda.md"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--small", action="store_true", help="little data, to rehearse")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        PARTS[asked.part][0](asked.device, SMALL if asked.small else FULL)
        return
    if torch.device(asked.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device found\n  rehearse with --device cpu --small")
    end = time.monotonic() + 60 * asked.minutes
    given = ["--device", asked.device, *(["--small"] if asked.small else [])]
    ends: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        log, figures = Path(folder) / "log", Path(folder) / "figures.jsonl"
        log.touch(), figures.touch()
        name = torch.cuda.get_device_name(asked.device) if torch.device(asked.device).type == "cuda" else "cpu"
        show(f"{time.strftime('%Y-%m-%d')}, {name}, torch {torch.__version__}, wf {wf.__version__}\n", log)
        for part in asked.only:
            limit = min(PARTS[part][1], end - time.monotonic())
            if limit < 5:
                ends[part] = "not run: no time left"
                continue
            show(f"\n== {part}\n", log)
            begin = time.monotonic()
            ends[part] = run_part(part, given, limit, log, figures)
            show(f"   {time.monotonic() - begin:.0f} s {ends[part]}\n", log)
            written(log, asked.out, figures, ends)
        written(log, asked.out, figures, ends)
    print(f"written to {asked.out}")
    if any(ends.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
