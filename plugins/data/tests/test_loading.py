from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from wf.errors import UsageError
from wf_base import Batch, Dataset, Stream, TensorSamples
from wf_base.data import as_float, split_dataset
from wf_data.batches import places as where
from wf_data.serving import RunData

NUM = 23


class Drawing:
    """Samples that draw different amounts of random numbers from the generators of torch, Python and NumPy."""

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        draws = [torch.rand(()).item(), random.random(), float(np.random.rand())]
        torch.rand(index % 3)
        return torch.tensor([index, *draws]), torch.zeros(1)


class DrawingAtOnce(Drawing):
    """The same, read a batch at once."""

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        return [self[index] for index in indices]


class Readers:
    """Samples that contain the process that read them, and fail at one index."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return NUM

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.broken:
            raise ValueError("this sample is broken")
        worker = get_worker_info()
        process = 0 if worker is None else os.getpid()
        return torch.tensor([float(index), process], dtype=torch.float64).float(), torch.zeros(1)


def serve(samples: Any, **options: Any) -> RunData:
    dataset = Dataset(train=samples, targets="real")
    splits = split_dataset(dataset, "70/30", 5, shuffle=True)
    return RunData(dataset, splits, **{"batch_size": 4, "seed": 5, **options})


def rows(batches: Iterator[Batch]) -> list[Any]:
    return [batch.inputs.tolist() for batch in batches]


@pytest.mark.parametrize("samples", [Drawing(), DrawingAtOnce()])
def test_random_draws_of_a_sample_depend_on_seed_epoch_and_sample_alone(samples: Any) -> None:
    data = {workers: serve(samples, workers=workers) for workers in (0, 1, 2)}
    epochs = [rows(data[0].epoch(epoch)) for epoch in range(2)]
    evaluated = rows(data[0].batches("validation"))
    torch.rand(5), random.random(), np.random.rand()  # other draws have no influence
    for one in data.values():
        assert rows(one.epoch(0)) == epochs[0]
        assert rows(one.epoch(1)) == epochs[1]
        assert rows(one.epoch(1, 2)) == epochs[1][2:]  # as a run that resumes there
        assert rows(one.batches("validation")) == evaluated
        one.close()
    assert sorted(row[0] for batch in epochs[0] for row in batch) == sorted(
        row[0] for batch in epochs[1] for row in batch
    )
    draws = [draw for epoch in epochs for batch in epoch for row in batch for draw in row[1:]]
    if not isinstance(samples, DrawingAtOnce):
        assert len(set(draws)) == len(draws), "draws are repeated between samples or epochs"
    assert rows(serve(samples, seed=6).batches("validation")) != evaluated


class Still(Drawing):
    """Declares that it draws nothing, and draws, so that a test sees whether it was seeded."""

    draws = False

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.rand(1), torch.zeros(1)


class StillAtOnce(Still):
    """The same, read a batch at once."""

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        return [self[index] for index in indices]


@pytest.mark.parametrize("samples", [Still(), StillAtOnce()])
def test_samples_declared_deterministic_are_not_seeded(samples: Any) -> None:
    data = serve(samples)
    torch.manual_seed(3)
    read = [row for batch in rows(data.batches("validation")) for row in batch]
    torch.manual_seed(3)
    assert read == [torch.rand(1).tolist() for _ in read]


def test_a_random_collate_is_seeded_even_if_samples_are_not() -> None:
    def collate(samples: list[Any]) -> tuple[Tensor, Tensor]:
        return torch.rand(len(samples), 1), torch.stack([target for _, target in samples])

    dataset = Dataset(train=Still(), targets="real", collate=collate)
    data = RunData(dataset, split_dataset(dataset, "70/30", 5, shuffle=True), batch_size=4, seed=5)
    before = torch.get_rng_state()
    assert rows(data.epoch(0)) == rows(data.epoch(0)) != rows(data.epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


class Spoiled:
    """A collate that draws for each sample, and only there."""

    def each(self, sample: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.cat([sample[0], torch.rand(2)]), sample[1]

    def __call__(self, samples: list[Any]) -> tuple[Tensor, Tensor]:
        inputs, targets = zip(*samples, strict=True)
        return torch.stack(inputs), torch.stack(targets)


@pytest.mark.parametrize("collate", [None, Spoiled()])
def test_draws_of_a_sample_do_not_depend_on_its_batch(collate: Any) -> None:
    dataset = Dataset(train=Drawing(), targets="real", collate=collate)
    splits = split_dataset(dataset, "70/30", 5, shuffle=True)
    ways = [{"batch_size": 4}, {"batch_size": 7}, {"batch_size": 4, "workers": 1}]
    ranks: list[dict[str, Any]] = [{"batch_size": 6, "world_size": 3, "rank": rank} for rank in range(3)]
    for read in (lambda data: data.epoch(3), lambda data: data.batches("validation")):
        found = [
            sorted(row for way in one for batch in rows(read(RunData(dataset, splits, seed=5, **way))) for row in batch)
            for one in (*([way] for way in ways), ranks)
        ]
        assert len(found[0]) in (16, 7)
        assert all(other == found[0] for other in found)


@pytest.mark.parametrize("samples", [Drawing(), DrawingAtOnce()])
def test_reading_leaves_the_global_generators_unchanged(samples: Any) -> None:
    data = serve(samples)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    for _ in (*data.epoch(0), *data.batches("validation"), data.first("train")):
        pass
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[2][1])


def processes(batches: Iterator[Batch]) -> set[float]:
    return {row[1] for batch in rows(batches) for row in batch}


def test_workers_live_from_epoch_to_epoch() -> None:
    data = serve(Readers(), workers=2)
    first = processes(data.epoch(0))
    assert len(first) == 2
    assert processes(data.epoch(1)) == first
    left = data.epoch(2)
    next(left)
    left.close()  # an epoch that is left early
    assert processes(data.epoch(3)) == first
    evaluating = processes(data.batches("validation"))
    assert processes(data.batches("train")) == evaluating, "consecutive evaluations reuse the workers"
    assert not evaluating & first
    data.close()
    assert not processes(data.epoch(4)) & first
    data.close()


def test_a_split_can_be_read_twice_at_once() -> None:
    data = serve(Readers(), workers=2)
    pairs = zip(data.epoch(0), data.epoch(0), strict=True)
    assert all(torch.equal(one.inputs[:, 0], other.inputs[:, 0]) for one, other in pairs)
    data.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_after_an_error_an_epoch_can_be_read_again(workers: int) -> None:
    samples = Readers()
    data = serve(samples, workers=workers)
    samples.broken = int(next(data.epoch(0)).inputs[0, 0])
    data.close()
    with pytest.raises(ValueError, match="this sample is broken"):
        rows(data.epoch(0))
    samples.broken = -1
    assert len(rows(data.epoch(0))) == data.num_batches
    data.close()


def children() -> list[int]:
    return [process.pid for process in multiprocessing.active_children() if process.pid is not None]


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def have_ended(pids: list[int], within_sec: float = 10) -> bool:
    deadline = time.monotonic() + within_sec
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


class Stuck(Readers):
    """Samples of which one blocks a worker for ever."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.broken and get_worker_info() is not None:
            time.sleep(600)
        return super().__getitem__(index)


def test_an_error_ends_the_workers_while_its_traceback_is_held() -> None:
    samples = Readers()
    data = serve(samples, workers=2)
    samples.broken = 3
    with pytest.raises(ValueError, match="this sample is broken") as held:
        rows(data.batches("train")) + rows(data.batches("validation"))
    assert children() == []
    assert held.tb is not None


def test_workers_end_when_the_data_are_garbage_collected() -> None:
    data: RunData | None = serve(Readers(), workers=2)
    assert data is not None
    batches: Iterator[Batch] | None = data.epoch(0)
    assert batches is not None
    next(batches)
    pids = children()
    assert len(pids) == 2
    data = batches = None
    gc.collect()
    assert have_ended(pids)


def test_workers_stuck_in_a_sample_are_ended() -> None:
    data = serve(Stuck(), workers=2)
    order = [int(index) for batch in data.epoch(0) for index in batch.inputs[:, 0]]
    data.close()
    data = serve(Stuck(broken=order[6]), workers=2)  # in the second batch
    batches = data.epoch(0)
    next(batches)
    pids, began = children(), time.monotonic()
    data.close()
    assert time.monotonic() - began < 5, "torch gives each process five seconds, and five more"
    assert have_ended(pids, 0)


def test_workers_survive_signals_to_the_process_group() -> None:
    data = serve(Readers(), workers=2)
    batches = data.epoch(0)
    first = next(batches)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        for pid in children():
            os.kill(pid, number)
    assert sum(batch.size for batch in (first, *batches)) == data.num_samples("train")
    data.close()


def test_signals_wait_only_while_processes_start() -> None:
    """Processes that a sample starts, such as a decoder, can be stopped."""

    class Masked(Readers):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            return torch.tensor([float(len(blocked)), 0]), torch.zeros(1)

    data = serve(Masked(), workers=1)
    assert {row[0] for batch in rows(data.epoch(0)) for row in batch} == {0}
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    data.close()


def _end(how: str, pids: connection.Connection[Any, Any]) -> None:
    """Hold data that are being read, and end this process in the given way."""
    held = serve(Readers(), workers=2)
    batches = held.epoch(0)
    next(batches)
    pids.send(children())
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the traceback
    ways: dict[str, Callable[[], Any]] = {
        "return": lambda: None,
        "error": lambda: [][0],
        "exit": lambda: sys.exit(3),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    }
    ways[how]()


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("error", 1), ("exit", 3), ("kill", -9), ("term", -15)])
def test_workers_end_however_their_parent_ends(how: str, code: int) -> None:
    """As in a script that holds an experiment: nothing is closed, and the traceback keeps everything alive."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    parent = multiprocessing.get_context("fork").Process(target=_end, args=(how, sender))
    parent.start()
    pids = receiver.recv()
    parent.join(20)
    hangs = parent.is_alive()
    parent.kill()
    assert not hangs
    assert parent.exitcode == code
    assert len(pids) == 2
    assert have_ended(pids)


def images() -> TensorSamples:
    generator = torch.Generator().manual_seed(1)
    return TensorSamples(
        torch.randint(0, 256, (NUM, 1, 3, 3), dtype=torch.uint8, generator=generator),
        torch.rand(NUM, 1, generator=generator),
    )


class Noise:
    num_draws = 2

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return inputs + draws.sum(1).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("shuffle", [True, False])
def test_serving_from_memory_device_or_loader_gives_the_same_bits(shuffle: bool) -> None:
    plain: dict[str, Any] = {"shuffle": shuffle, "transforms": [(Noise(), True)]}
    ways = [{"serve_from": "memory"}, {"serve_from": "loader"}, {"serve_from": "loader", "workers": 2}]
    if torch.cuda.is_available():
        cuda = torch.device("cuda", 0)
        ways += [{"serve_from": place, "device": cuda} for place in ("memory", "device", "loader")]
    by_default = [*serve(images(), **plain).epoch(2), *serve(images(), **plain).batches("validation")]
    for way in ways:
        data = serve(images(), **plain, **way)
        served = [*data.epoch(2), *data.batches("validation")]
        for ours, theirs in zip(by_default, served, strict=True):
            assert theirs.inputs.device == way.get("device", torch.device("cpu"))
            for one, other in zip(ours[:3], theirs[:3], strict=True):
                assert one is not None
                assert other is not None
                assert one.dtype == other.dtype
                assert torch.equal(one, other.cpu()), way
        data.close()


def test_every_byte_becomes_the_same_float_on_every_device() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    exact = torch.tensor([value / 255 for value in range(256)], dtype=torch.float64).float()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        assert torch.equal(as_float(every.to(device)).cpu(), exact)


CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def free(monkeypatch: pytest.MonkeyPatch, num: int) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (num, 10 * num))


def test_the_automatic_choice_of_serve_from(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = images()
    size = samples.inputs.nbytes + samples.targets.nbytes
    stream = Stream(num_samples=3, read=lambda _: iter(()))
    free(monkeypatch, 4 * size)
    assert where.choose_places("auto", {"train": samples, "test": Drawing()}, CPU) == {
        "train": "memory",
        "test": "loader",
    }
    assert where.choose_places("auto", {"train": stream, "test": Drawing()}, CPU) == {
        "train": "stream",
        "test": "loader",
    }
    assert where.choose_places("auto", {"train": samples}, CUDA) == {"train": "device"}
    assert where.choose_places("auto", {"train": samples, "test": images()}, CUDA) == {
        "train": "memory",
        "test": "memory",
    }
    assert where.choose_places("device", {"train": samples, "test": images()}, CUDA)["test"] == "device"
    assert where.choose_places("memory", {"train": samples}, CUDA) == {"train": "memory"}
    assert where.choose_places("loader", {"train": samples}, CUDA) == {"train": "loader"}


@pytest.mark.parametrize(
    ("asked", "samples", "device", "message"),
    [
        ("device", images(), CPU, "device cpu has no separate memory"),
        ("device", images(), torch.device("mps"), "device mps has no separate memory"),
        ("device", images(), CUDA, r"the samples take 0 MB, and cuda:0 has 0 MB free"),
        ("device", Drawing(), CUDA, r"dataset 'x' is not in memory \(train\).*cannot be served from device"),
        ("memory", Drawing(), CPU, r"cannot be served from memory\n  leave --serve-from out"),
        ("loader", Stream(num_samples=3, read=lambda _: iter(())), CPU, "is a stream.*cannot be served from loader"),
    ],
)
def test_impossible_choices_of_serve_from_are_refused(
    monkeypatch: pytest.MonkeyPatch, asked: str, samples: Any, device: torch.device, message: str
) -> None:
    free(monkeypatch, 1)
    with pytest.raises(UsageError, match=message):
        where.choose_places(asked, {"train": samples}, device, "x")


def test_the_choice_of_serve_from_is_described() -> None:
    sizes = {"train": 1000, "test": 234}
    assert where.describe_places({"train": "memory", "test": "memory"}, sizes, CPU, 0) == (
        "data: 1,234 samples in memory, served as slices"
    )
    assert where.describe_places({"train": "memory"}, sizes, CPU, 2).endswith("slices (2 workers are unused)")
    assert where.describe_places({"train": "device"}, sizes, CUDA, 0) == (
        "data: 1,000 samples held on cuda:0, served as slices"
    )
    assert where.describe_places({"train": "loader", "test": "memory"}, sizes, CPU, 1) == (
        "data: 1,000 samples loaded by torch's DataLoader, 1 worker; 234 samples in memory, served as slices"
    )
    assert where.describe_places({"train": "loader"}, sizes, CPU, 0).endswith("DataLoader, no workers")
    assert where.describe_places({"train": "stream"}, sizes, CPU, 0).endswith("read in order as a stream")
