"""Reading samples that are not in memory: torch's DataLoader, with separate random numbers per sample."""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import Pipe, connection, get_start_method, util
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Subset, get_worker_info

from wf.blame import FAILURES, blame, culprit
from wf.discovery.modules import describe
from wf.errors import DataError, WfError
from wf_base.data import Samples
from wf_base.tree import Tree
from wf_data.checks import Checks
from wf_processes.failures import InLoader
from wf_processes.signals import STOPPING


class Chunk(NamedTuple):
    """The samples of one batch."""

    split: str
    indices: list[int]
    seeds: list[int]
    """The seeds of each sample's draws, see `wf_base.random.sample_seeds`."""


class _Failure(NamedTuple):
    """An error from a data loading process."""

    error: BaseException
    traceback: str


_COLLATE = 0x636F6C6C617465
"""Separates the random stream of a dataset's collate from that of the batch's first sample."""
PATIENCE_SEC = 1.0
"""Seconds that a data loading process has to finish reading after the request to end."""


class Loader:
    """Reads batches of a run's splits, in this process or in worker processes that live until `close`.

    The workers also end when this object is garbage collected, and however this process ends.

    While a sample is read, torch's, Python's and NumPy's global generators are seeded for that sample alone, so what
    it draws depends on no other one and on no number of workers; afterwards this process has its own back. Samples with
    a method ``__getitems__``, which reads a batch at once, have the draws of the first sample of the batch. Nothing is
    seeded where neither the samples nor their collate draw anything (``draws = False``).

    Args:
        splits: The samples of each split.
        workers: The number of worker processes; 0 reads in this process.
        checks: Makes batches of samples and checks them where they are read.
        pin: Whether batches are put into pinned memory, for a CUDA device.
    """

    def __init__(self, splits: Mapping[str, Samples], workers: int, checks: Checks, *, pin: bool = False) -> None:
        self._splits, self._workers, self._checks, self._pin = splits, workers, checks, pin
        self._chunks = _Chunks()
        self._loader: DataLoader[Any] | None = None
        self._end: util.Finalize | None = None
        self._in_use = False

    def batches(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Tree, Tree]]:
        """Inputs and targets of each chunk. Concurrent iterations have separate processes."""
        if self._in_use:
            with closing(Loader(self._splits, self._workers, self._checks, pin=self._pin)) as another:
                yield from another.batches(chunks)
            return
        self._in_use, self._chunks.now = True, chunks
        try:
            loader = self._open()
            with _signals_wait() if self._workers else nullcontext():
                reads = iter(loader)
            for read in reads:
                if isinstance(read, _Failure):
                    raise read.error from InLoader(read.traceback)
                yield read
        except GeneratorExit:  # the epoch ended early; prefetched data are dropped when the next one begins
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._in_use = False

    def close(self) -> None:
        """End the processes and threads; the next iteration starts new ones."""
        self._loader, end, self._end = None, self._end, None
        if end is not None:
            end()

    def _open(self) -> DataLoader[Any]:
        if self._loader is None:
            told, tell = Pipe(duplex=False) if self._workers else (None, None)
            self._loader = DataLoader(
                _Seeded(self._splits, self._checks),
                batch_sampler=self._chunks,  # type: ignore[arg-type]  # of what `_Seeded` is asked for
                collate_fn=_as_it_is,
                num_workers=self._workers,
                persistent_workers=self._workers > 0,
                pin_memory=self._pin,
                worker_init_fn=None if told is None else partial(_begin_to_load, told, os.getpid()),
                generator=torch.Generator(),  # so that creating the iterator draws nothing from the global generator
            )
            if told is not None:  # also called at exit, before waiting for them and closing queues
                self._end = util.Finalize(self, _end_loading, (self._loader, told, tell), exitpriority=100)
        return self._loader


class _Chunks:
    """The DataLoader's sampler: the chunks of the current iteration."""

    now: Iterable[Chunk] = ()

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self.now)


class _Seeded(torch.utils.data.Dataset[Any]):
    """The samples of every split, read chunk by chunk, each with its seed, and made into batches."""

    def __init__(self, splits: Mapping[str, Samples], checks: Checks) -> None:
        self._splits, self._checks = splits, checks

    def __len__(self) -> int:
        return sum(map(len, self._splits.values()))

    def __getitems__(self, chunk: Chunk) -> tuple[Tree, Tree] | _Failure:
        if get_worker_info() is None:
            drawn = _draw(self._splits[chunk.split]) or self._checks.draws
            with generators_kept() if drawn else nullcontext():
                return self._batch(chunk)
        try:
            return self._batch(chunk)
        except FAILURES as error:
            return _sent(error)

    def _batch(self, chunk: Chunk) -> tuple[Tree, Tree]:
        samples: Any = self._splits[chunk.split]
        ids, drawn = _ids(samples, chunk.indices), _draw(samples)
        if _reads_many(samples):
            if drawn:
                seed_all(chunk.seeds[0])
            found = self._named(chunk.split, ids, lambda: list(samples.__getitems__(chunk.indices)))
        else:
            found = [
                self._named(chunk.split, [one], partial(_read, samples, index, seed if drawn else None))
                for one, index, seed in zip(ids, chunk.indices, chunk.seeds, strict=True)
            ]
        return self._checks.pairs(drawn_for(self._checks, found, chunk.seeds), ids, chunk.split)

    def _named(self, split: str, ids: list[int], read: Callable[[], Any]) -> Any:
        """Read samples; errors name the sample."""
        try:
            return read()
        except WfError:
            raise
        except (IndexError, StopIteration) as error:
            where, number = self._checks.where(split), ", ".join(map(str, ids))
            raise DataError(
                f"{where}: sample {number} cannot be read: {describe(error)}\n"
                "  its __len__ may be too large; --traceback shows where the error was raised"
            ) from error
        except FAILURES as error:
            error.add_note(f"sample {', '.join(map(str, ids))} of {self._checks.where(split)}")
            raise


def _as_it_is(read: Any) -> Any:
    return read


def _ids(samples: Any, indices: list[int]) -> list[int]:
    """The numbers of samples in their dataset."""
    return [int(samples.indices[index]) for index in indices] if isinstance(samples, Subset) else indices


def _sent(error: BaseException) -> _Failure:
    """An error with its origin, in a form that another process can unpickle."""
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, WfError):
        blame(error, culprit(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        notes, error = getattr(error, "__notes__", []), RuntimeError(describe(error))
        for note in notes:
            error.add_note(note)
    return _Failure(error, f"\n{text}")


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restore torch's, Python's and NumPy's global generators afterwards."""
    numpy = sys.modules.get("numpy")
    ours, pythons = torch.get_rng_state(), random.getstate()
    numpys = None if numpy is None else numpy.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(ours)
        random.setstate(pythons)
        if numpy is not None:
            numpy.random.set_state(numpys)


def _read(samples: Samples, index: int, seed: int | None) -> tuple[Any, Any]:
    if seed is not None:
        seed_all(seed)
    return samples[index]


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, Python and NumPy."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed also seeds accelerators, and takes 40 times as long
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)


def drawn_for(checks: Checks, samples: Sequence[Any], seeds: Sequence[int]) -> Sequence[Any]:
    """Samples after `each` of their `collate`, if it has that; the global generators are then seeded for the batch.

    Args:
        checks: Knows the `collate`.
        samples: The samples of a batch, as they were read.
        seeds: Their seeds. `each` draws by that of its sample, the call of `collate` by that of the first one.
    """
    if not checks.draws:
        return samples
    if checks.each is not None:
        samples = [_each(checks.each, sample, seed ^ _COLLATE) for sample, seed in zip(samples, seeds, strict=True)]
    seed_all(seeds[0] ^ _COLLATE)
    return samples


def _each(each: Callable[[Any], Any], sample: Any, seed: int) -> Any:
    seed_all(seed)
    return each(sample)


def _draw(samples: Any) -> bool:
    """Whether samples may draw random numbers; a `Subset` does if those do that it is one of."""
    return _draw(samples.dataset) if isinstance(samples, Subset) else bool(getattr(samples, "draws", True))


def _reads_many(samples: Any) -> bool:
    """Whether samples read a batch at once; a `Subset` does if its dataset does."""
    if isinstance(samples, Subset):
        return _reads_many(samples.dataset)
    return callable(getattr(samples, "__getitems__", None))


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Block signals while processes are started, until these ignore signals themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_to_load(told: connection.Connection[Any, Any], parent: int, _worker: int) -> None:
    """Make a data-loading process ignore signals, and end on request or when its parent is gone.

    A terminal, and many schedulers, send a signal to all processes of a run, some more than once. The run then
    finishes its step and ends its data loading processes itself; if they died first, the run would fail.
    """
    for number in STOPPING:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_wait_for_the_end, args=(told, parent), daemon=True).start()


def _wait_for_the_end(told: connection.Connection[Any, Any], parent: int) -> None:
    """End this process at once, because torch would wait for its current read, possibly forever."""
    while _is_there(parent) and not told.poll(PATIENCE_SEC):
        pass
    if _is_there(parent):
        time.sleep(PATIENCE_SEC)  # most end by themselves, and a thread may still receive their data
    os._exit(0)


def _is_there(parent: int) -> bool:
    """Whether the parent process is alive; it may have ended before this one started."""
    if get_start_method() != "forkserver":
        return os.getppid() == parent
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        return False
    return True


def _end_loading(
    loader: DataLoader[Any], told: connection.Connection[Any, Any], tell: connection.Connection[Any, Any]
) -> None:
    """End the processes and threads of a DataLoader, even if it failed while starting them."""
    tell.send_bytes(b"end")
    iterator: Any = loader._iterator
    if iterator is not None:
        with suppress(RuntimeError):  # torch reports a process that was killed meanwhile
            iterator._shutdown_workers()  # there is no public method, and a traceback keeps the iterator alive
        for worker in iterator._workers:
            worker.join(2 * PATIENCE_SEC)
            worker.kill()
            worker.join()
    for end in (told, tell):
        end.close()
