"""Speed and numerical effect of each option that can make a run faster, compared with the plain run.

Usage: python benchmarks/faster_by_name.py [--samples N] [--epochs N] [--threads N]

A small convolutional network on images in memory is trained by `wf.build(...).fit()` on the CPU and, if available, on a
CUDA device. The table shows the fastest epoch after the first (the first one compiles and captures), and the largest
difference of a weight to the plain run after the first epoch; below it the largest change of a weight in that epoch.
If a device does not support an option, the table gives the reason. On CUDA a second table compares R3's network (28x28
images, two hidden layers of 512) with the usual script: PIL images, ToTensor, DataLoader, batches of 64.
"""

from __future__ import annotations

import argparse
import platform
import time
from typing import Any

import torch
from torch import Tensor, nn

import wf
from wf.errors import UsageError

PLAIN = "plain"
ADAM = {"use": "adam", "eps": 1e-3}
"""Adam divides gradients by their size, so with a small eps mere rounding errors would change the weights visibly."""
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "--accumulate 4, batches of 16": {"accumulate": 4, "batch_size": 16},
    "--precision bf16": {"precision": "bf16"},
    "--precision fp16": {"precision": "fp16"},
    "--precision tf32": {"precision": "tf32"},
    "--trainer.compile": {"trainer": {"use": "supervised", "compile": True}},
    "--optimizer.foreach true": {"optimizer": {**ADAM, "foreach": True}},
    "--optimizer.foreach false": {"optimizer": {**ADAM, "foreach": False}},
    "--optimizer.fused true": {"optimizer": {**ADAM, "fused": True}},
    "--trainer.channels_last": {"trainer": {"use": "supervised", "channels_last": True}},
    "--trainer graphed": {"trainer": "graphed"},
}
SLOW = {"cpu": ("--precision fp16",)}
"""Variants that are trained for a single epoch because they are slow."""


class Watch:
    """Records the time at the end of each epoch, and the weights after the first."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.model: Any = None
        self.weights: list[Tensor] = []

    def on_epoch_start(self, run: wf.Loop) -> None:
        """Record the start of the first epoch."""
        if not self.times:
            self._note()

    def on_epoch_end(self, run: wf.Loop) -> None:
        """Record the end of each epoch."""
        self._note()
        if not self.weights:
            self.weights = [parameter.detach().cpu().clone() for parameter in self.model.parameters()]

    def _note(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def epoch_sec(self) -> float:
        """Seconds of the fastest epoch after the first; of the first if there is only one."""
        seconds = [after - before for before, after in zip(self.times, self.times[1:], strict=False)]
        return min(seconds[1:] or seconds)


def trained(settings: dict[str, Any]) -> tuple[Watch, list[Tensor]]:
    """Train a run; returns its times and its initial weights."""
    watch = Watch()
    plain = {"split": "100/0/0", "eval_splits": [], "metric": [], "hook": [watch], "optimizer": ADAM, "seed": 0}
    experiment = wf.build({**plain, **settings}, save=False, quiet=True)
    watch.model = experiment.model
    began = [parameter.detach().cpu().clone() for parameter in watch.model.parameters()]
    experiment.fit()
    return watch, began


def farthest(ones: list[Tensor], others: list[Tensor]) -> float:
    """The largest absolute difference between two lists of tensors."""
    return max(float((one - other).abs().max()) for one, other in zip(ones, others, strict=True))


def table(device: str, settings: dict[str, Any], epochs: int) -> None:
    """Train and print every variant."""
    trained({**settings, "device": device, "epochs": 1})  # warm up
    reference, began = trained({**settings, "device": device, "epochs": epochs})
    print(f"{'':<32}{'s/epoch':>11}{'of plain':>10}{'difference':>12}")
    for name, more in VARIANTS.items():
        num = 1 if name in SLOW.get(device, ()) else epochs
        try:
            watch = reference if name == PLAIN else trained({**settings, "device": device, "epochs": num, **more})[0]
        except UsageError as error:
            print(f"{name:<32}  {str(error).partition(chr(10))[0]}")
            continue
        share = watch.epoch_sec() / reference.epoch_sec()
        difference = farthest(watch.weights, reference.weights)
        print(f"{name:<32}{watch.epoch_sec():>11.3f}{share:>10.2f}{difference:>12.1e}", flush=True)
    print(f"largest change of a weight in the first epoch: {farthest(reference.weights, began):.1e}\n")


def usual_script(images: Tensor, targets: Tensor, device: str, epochs: int) -> float:
    """Seconds per epoch of the usual script for Fashion-MNIST."""
    from PIL import Image
    from torchvision.transforms import ToTensor

    transform = ToTensor()

    class Images(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.fromarray(images[index].numpy())), int(targets[index])

    torch.manual_seed(0)
    hidden = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    model = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10)).to(device)
    optimizer, loss_of = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(Images(), batch_size=64, shuffle=True)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        for inputs, labels in loader:
            loss = loss_of(model(inputs.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:] or seconds)


def r3(device: str, num_samples: int, epochs: int) -> None:
    """Compare R3's network on random images of its size with the usual script."""
    torch.manual_seed(0)
    images, targets = torch.randint(256, (num_samples, 28, 28), dtype=torch.uint8), torch.randint(10, (num_samples,))
    print(f"R3's network on {device}, {num_samples:,} images of 28x28, batches of 64")
    print(f"{'the usual script':<32}{usual_script(images, targets, device, epochs):>11.3f} s per epoch")
    inputs = images.unsqueeze(1).to(torch.float32).div(255)
    table(
        device, {"dataset": (inputs, targets), "model": {"use": "mlp", "hidden": [512, 512]}, "batch_size": 64}, epochs
    )


def measure(num_samples: int, epochs: int, threads: int | None) -> None:
    """Measure and print the tables."""
    if threads is not None:
        torch.set_num_threads(threads)
    print(f"python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}")
    torch.manual_seed(0)
    inputs, targets = torch.randn(num_samples, 3, 32, 32), torch.randint(10, (num_samples,))
    settings = {"dataset": (inputs, targets), "model": {"use": "cnn", "channels": [16, 32]}, "batch_size": 64}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        what = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
        print(f"\n{device} ({what}), {num_samples} images of 3x32x32, cnn [16, 32], batches of 64, adam")
        table(device, settings, epochs)
    if torch.cuda.is_available():
        r3("cuda", 60_000, 3)
    else:
        print("R3's network and the usual script: not measured, no CUDA device found")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    measure(arguments.samples, arguments.epochs, arguments.threads)
