from __future__ import annotations

import errno
import json
import logging
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wf import Loop
from wf.errors import DataError, NothingSavedError, SaveError, UsageError
from wf_durability import manifest as module
from wf_durability.checkpointer import DirectoryCheckpointer, read_checkpoint
from wf_durability.manifest import read_manifest, read_manifests
from wf_durability.places import scan
from wf_durability.snapshot import DTYPES, Snapshot, safetensors_file
from wf_state.codec import CodecError
from wf_storage import files


def make(run_dir: Path, keep_last: int = 2, larger_is_better: bool = False) -> DirectoryCheckpointer:
    return DirectoryCheckpointer(run_dir, "validation/loss", {"loss": larger_is_better}, keep_last)


def state_of(step: int) -> dict[str, Any]:
    """A state with its step in tensors and in JSON; two tensors share a buffer, and two are the same tensor."""
    weight = torch.full((3, 4), float(step))
    model = {"0.weight": weight, "1.weight": weight, "a": weight[0], "b": torch.arange(8.0).view(2, 4)[1] * step}
    rows = torch.arange(6).view(2, 3)
    return {
        "parts": {"model": model, "scheduler": {"milestones": Counter({2: step})}, "rows": list(rows)},
        "step": step,
    }


def save(checkpointer: DirectoryCheckpointer, step: int, loss: Any = None, **metrics: Any) -> Path:
    figures = {**metrics} if loss is None else {"validation/loss": loss, **metrics}
    progress = {"step": step, "epoch": step // 10, "batch": 0, "samples": 0}
    return Path(checkpointer.save(state_of(step), progress, figures).result())


def step_of(state: Any) -> int:
    """The step of a loaded state; all its parts have to agree."""
    step: int = state["step"]
    wanted = state_of(step)
    model, parts = state["parts"]["model"], wanted["parts"]
    assert all(torch.equal(model[name], one) for name, one in parts["model"].items())
    assert all(torch.equal(*pair) for pair in zip(state["parts"]["rows"], parts["rows"], strict=True))
    assert state["parts"]["scheduler"] == parts["scheduler"]
    assert model["0.weight"] is model["1.weight"]
    return step


def checkpoint_names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def list_checkpoints(run_dir: Path) -> list[dict[str, Any]]:
    """What the manifests of a run directory's checkpoints say, oldest first."""
    found = scan(run_dir / "checkpoints")
    return [
        {"name": name, "path": found[name], **{key: manifest[key] for key in ("step", "epoch", "metrics", "finite")}}
        for name, manifest in read_manifests(found, warn=True).items()
    ]


def test_saves_and_loads(tmp_path: Path) -> None:
    place = save(make(tmp_path), 938, 0.5)
    assert place == tmp_path / "checkpoints" / "step-00000938"
    assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
    assert step_of(make(tmp_path).load()) == step_of(make(tmp_path).load("step-00000938")) == 938
    assert checkpoint_names(tmp_path) == ["step-00000938"]


def test_model_and_optimizer_survive_a_save(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    parts = {"model": dict(model.state_dict()), "optimizer": optimizer.state_dict()}
    make(tmp_path).save({"parts": parts}, {"step": 1, "epoch": 0}, {}).result()
    back = make(tmp_path).load()["parts"]
    assert all(torch.equal(back["model"][name], one) for name, one in model.state_dict().items())
    assert list(back["optimizer"]["state"]) == list(optimizer.state_dict()["state"])
    optimizer.load_state_dict(back["optimizer"])


def test_the_manifest_lists_files_tensors_and_metrics(tmp_path: Path) -> None:
    metrics = {"validation/recall": [0.5, float("nan")], "test/mse": float("inf"), "n": torch.tensor(3)}
    place = save(make(tmp_path), 12, 0.25, **metrics)
    manifest = json.loads((place / "manifest.json").read_text())
    assert (manifest["schema"], manifest["step"], manifest["epoch"], manifest["finite"]) == (1, 12, 1, True)
    assert manifest["progress"] == {"step": 12, "epoch": 1, "batch": 0, "samples": 0}
    figures = {"validation/loss": 0.25, "validation/recall": [0.5, None], "test/mse": None, "n": 3}
    assert manifest["metrics"] == figures
    assert set(manifest["files"]) == {"tensors.safetensors", "state.json"}
    stored = safetensors.torch.load_file(place / "tensors.safetensors")
    assert set(manifest["tensors"]) == set(stored)
    assert list_checkpoints(tmp_path) == [
        {"name": place.name, "path": place, "step": 12, "epoch": 1, "metrics": figures, "finite": True}
    ]
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = save(make(tmp_path / "a"), 3, 0.5), save(make(tmp_path / "b"), 3, 0.5)
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.float8_e5m2])
def test_a_model_that_is_not_finite_is_marked(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    model = {"count": torch.tensor(1), "weight": torch.ones(2), "bad": torch.tensor([1.0, value]).to(dtype)}
    place = Path(make(tmp_path).save({"parts": {"model": model}}, {"step": 1, "epoch": 0}, {}).result())
    assert read_manifest(place)["finite"] is False
    checkpointer = make(tmp_path)
    assert [checkpointer.is_finite(str(one)) for one in (place, tmp_path)] == [False, True]


class TestChoice:
    def test_latest_is_the_newest(self, tmp_path: Path) -> None:
        checkpointer = make(tmp_path, keep_last=5)
        for step in (5, 100_000_000, 20):
            save(checkpointer, step)
        assert step_of(make(tmp_path).load()) == 100_000_000

    def test_latest_prefers_a_checkpoint_with_finite_weights(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        checkpointer = make(tmp_path, keep_last=5)
        for step, weight in ((10, torch.nan), (20, 1.0), (30, torch.inf), (40, torch.nan)):
            state = {"step": step, "parts": {"model": {"weight": torch.tensor(weight)}}}
            checkpointer.save(state, {"step": step, "epoch": 0}, {}).result()
        assert checkpointer.load()["step"] == 20
        passed_over = [f"checkpoint step-000000{step} is skipped: its weights are not finite" for step in (40, 30)]
        assert caplog.messages == passed_over
        shutil.rmtree(checkpointer.folder / "step-00000020")
        assert checkpointer.load()["step"] == 40, "infinities may be part of a model, such as a mask"
        assert caplog.messages == passed_over

    @pytest.mark.parametrize(("larger_is_better", "best"), [(False, 20), (True, 10)])
    def test_best_is_by_the_monitor(self, tmp_path: Path, larger_is_better: bool, best: int) -> None:
        checkpointer = make(tmp_path, larger_is_better=larger_is_better)
        for step, loss in ((10, 0.9), (20, 0.1), (30, 0.1), (40, float("nan")), (50, 0.5), (60, None)):
            save(checkpointer, step, loss)
        assert step_of(checkpointer.load("best")) == best
        assert step_of(make(tmp_path, larger_is_better=larger_is_better).load("best")) == best

    def test_a_monitor_without_direction_has_no_best(self, tmp_path: Path) -> None:
        checkpointer = DirectoryCheckpointer(tmp_path, "validation/a/odd", {"odd": True}, 1)
        for step, odd in ((10, 0.9), (20, 0.1), (30, 0.5)):
            save(checkpointer, step, **{"validation/a/odd": odd})
        assert checkpoint_names(tmp_path) == ["step-00000030"]
        with pytest.raises(UsageError, match="not known whether a larger 'validation/a/odd' is better"):
            checkpointer.load("best")
        said = DirectoryCheckpointer(tmp_path, "validation/a/odd:max", {}, 1)
        assert step_of(said.load("best")) == 30

    def test_the_newest_and_the_best_and_a_finite_one_are_kept(self, tmp_path: Path) -> None:
        checkpointer = make(tmp_path)
        for step in range(1, 8):
            save(checkpointer, step, abs(step - 3.0))
        assert checkpoint_names(tmp_path) == ["step-00000003", "step-00000006", "step-00000007"]
        for step in (8, 9, 10):
            bad = {"parts": {"model": {"weight": torch.tensor(float("nan"))}}}
            checkpointer.save(bad, {"step": step, "epoch": 0}, {}).result()
        assert checkpoint_names(tmp_path) == ["step-00000003", "step-00000007", "step-00000009", "step-00000010"]

    def test_saving_an_earlier_step_keeps_the_new_checkpoint(self, tmp_path: Path) -> None:
        save(make(tmp_path, keep_last=1), 30)
        save(make(tmp_path, keep_last=1), 20)
        save(make(tmp_path, keep_last=1), 25)
        assert checkpoint_names(tmp_path) == ["step-00000025", "step-00000030"]

    def test_an_unknown_name_lists_the_checkpoints(self, tmp_path: Path) -> None:
        save(make(tmp_path), 938)
        with pytest.raises(DataError, match=r"(?s)unknown checkpoint 'step-938'.*step-00000938") as caught:
            make(tmp_path).load("step-938")
        assert caught.value.exit_code == 4

    def test_no_checkpoint_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(NothingSavedError, match=r"there are no checkpoints in .*: the run ended before"):
            make(tmp_path).load()

    def test_best_without_a_monitored_figure(self, tmp_path: Path) -> None:
        save(make(tmp_path), 3)
        with pytest.raises(DataError, match=r"(?s)number for the monitor 'validation/loss'.*step-00000003"):
            make(tmp_path).load("best")


@pytest.mark.parametrize(("every", "kept"), [(3, [30, 60, 80]), (1, [*range(10, 90, 10)]), (None, [80])])
def test_every_nth_is_kept(tmp_path: Path, every: int | None, kept: list[int]) -> None:
    """A resumed run counts on, and a step that is saved again keeps its number."""
    for step in (10, 20, 30, 40, 50, 40, 50, 60, 70, 80):
        save(DirectoryCheckpointer(tmp_path, "validation/loss", {}, 1, every), step)
    assert [one["step"] for one in list_checkpoints(tmp_path)] == kept


def test_the_state_may_change_as_soon_as_save_returns(tmp_path: Path) -> None:
    checkpointer, state = make(tmp_path), state_of(3)
    with pytest.MonkeyPatch.context() as patch:
        may_write = threading.Event()
        write = files.write

        def late(stream: Any, data: Any) -> None:
            may_write.wait(10)
            write(stream, data)

        patch.setattr(files, "write", late)
        writing = checkpointer.save(state, {"step": 3, "epoch": 0}, {})
        for tensor in state["parts"]["model"].values():
            tensor.fill_(-1)
        state["parts"]["scheduler"]["milestones"][2] = -1
        state["step"] = -1
        assert not writing.done()
        may_write.set()
        assert step_of(checkpointer.load()) == 3


def test_memory_is_reused_between_saves(tmp_path: Path) -> None:
    checkpointer = make(tmp_path)
    save(checkpointer, 1)
    memory = checkpointer._snapshot._memory.data_ptr()
    for step in (2, 3):
        save(checkpointer, step)
    assert checkpointer._snapshot._memory.data_ptr() == memory
    assert step_of(checkpointer.load("step-00000003")) == 3


def test_the_first_record_allocates_memory_for_the_copy(tmp_path: Path) -> None:
    loop = Loop(SimpleNamespace(train_step=lambda batch: 0.5), parts={"model": nn.Linear(100, 10)})  # type: ignore[arg-type]
    checkpointer = make(tmp_path)
    checkpointer.on_log(loop, {})
    checkpointer._wait()
    assert len(checkpointer._snapshot._memory) == 4 * 1010


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.tuples(st.sampled_from(list(DTYPES)), st.lists(st.integers(0, 3), max_size=3)),
    )
)
def test_written_files_are_read_by_safetensors(shapes: dict[str, tuple[torch.dtype, list[int]]]) -> None:
    tensors = {name: torch.randint(0, 2, shape).to(dtype) for name, (dtype, shape) in shapes.items()}
    data = b"".join(safetensors_file(*Snapshot().take(tensors)))
    back = safetensors.torch.load(data)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], one) and back[name].dtype is one.dtype for name, one in tensors.items())


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep_last is 0"):
        make(tmp_path, keep_last=0)
    with pytest.raises(UsageError, match="keep_every is 0"):
        DirectoryCheckpointer(tmp_path, "validation/loss", {}, keep_every=0)
    with pytest.raises(UsageError, match="need a run directory"):
        DirectoryCheckpointer(None, "validation/loss", {})


def test_an_unsupported_state_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"parts\.hook: an object of type function"):
        make(tmp_path).save({"parts": {"hook": lambda: 0, "model": {}}}, {"step": 1, "epoch": 0}, {})
    assert list(tmp_path.iterdir()) == []


class TestDamage:
    @pytest.fixture
    def run_dir(self, tmp_path: Path) -> Path:
        for step in (10, 20):
            save(make(tmp_path), step, 1 / step)
        return tmp_path

    @pytest.mark.parametrize("which", ["latest", "best"])
    @pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
    @pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "extend", "remove"])
    def test_a_damaged_checkpoint_falls_back_to_the_older_one(
        self, run_dir: Path, file: str, harm: str, which: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = run_dir / "checkpoints" / "step-00000020" / file
        data = bytearray(path.read_bytes())
        if harm == "flip":
            data[len(data) // 2] ^= 1
        harmed = bytes({"truncate": data[:-1], "empty": b"", "extend": data + b"\n"}.get(harm, data))
        path.write_bytes(harmed) if harm != "remove" else path.unlink()
        with caplog.at_level(logging.WARNING, logger="wf"):
            assert step_of(make(run_dir).load(which)) == 10
        assert "step-00000020 is skipped" in caplog.text
        assert file in caplog.text
        with pytest.raises(DataError, match=rf"(?s)no usable checkpoint.*{file}"):
            make(run_dir).load("step-00000020")

    def test_every_flipped_bit_is_caught(self, run_dir: Path) -> None:
        place = run_dir / "checkpoints" / "step-00000020"
        whole = {path: path.read_bytes() for path in place.iterdir()}
        draw = random.Random(0)
        for path, data in whole.items():
            for position in {0, 1, 7, 8, len(data) - 1, *draw.sample(range(len(data)), 150)}:
                harmed = bytearray(data)
                harmed[position] ^= 1 << draw.randrange(8)
                path.write_bytes(harmed)
                with pytest.raises(module.DamagedCheckpoint):
                    read_checkpoint(place)
            path.write_bytes(data)
        assert step_of(read_checkpoint(place)) == 20

    def test_files_of_another_checkpoint_are_caught(self, run_dir: Path) -> None:
        older, newer = (run_dir / "checkpoints" / name for name in ("step-00000010", "step-00000020"))
        shutil.copy(older / "tensors.safetensors", newer)
        assert step_of(make(run_dir).load()) == 10
        shutil.rmtree(newer)
        shutil.copytree(older, newer)
        with pytest.raises(module.DamagedCheckpoint, match="its manifest belongs to step 10"):
            read_checkpoint(newer)

    def test_another_schema_is_refused(self, run_dir: Path) -> None:
        place = run_dir / "checkpoints" / "step-00000020"
        manifest = {**read_manifest(place), "schema": 3}
        (place / "manifest.json").write_bytes(module.seal(manifest))
        with pytest.raises(module.DamagedCheckpoint, match="written in schema 3"):
            read_checkpoint(place)

    def test_all_checkpoints_are_damaged(self, run_dir: Path) -> None:
        for path in (run_dir / "checkpoints").glob("*/state.json"):
            path.unlink()
        with pytest.raises(DataError, match=r"(?s)step-00000020: state.json is missing.*step-00000010"):
            make(run_dir).load()

    def test_a_planted_pickle_is_never_read(self, run_dir: Path) -> None:
        class Planted:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(run_dir / "executed"),)

        data = pickle.dumps(Planted())
        for name in ("state.pkl", "state.pt", "data.pkl", "step-00000030"):
            (run_dir / "checkpoints" / name).write_bytes(data)
            (run_dir / "checkpoints" / "step-00000010" / name).write_bytes(data)
        for name in ("tensors.safetensors", "state.json"):
            (run_dir / "checkpoints" / "step-00000020" / name).write_bytes(data)
        assert step_of(make(run_dir).load()) == 10
        assert not (run_dir / "executed").exists()

    def test_listing_leaves_out_a_damaged_manifest(self, run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
        (run_dir / "checkpoints" / "step-00000020" / "manifest.json").write_text("{}")
        assert [one["step"] for one in list_checkpoints(run_dir)] == [10]
        assert "step-00000020 is skipped" in caplog.text


class TestLeftovers:
    def test_leftovers_are_removed_by_the_next_save_and_not_by_a_load(self, tmp_path: Path) -> None:
        save(make(tmp_path), 10)
        leftover = tmp_path / "checkpoints" / ".tmp-step-00000020-1234"
        leftover.mkdir()
        (leftover / "tensors.safetensors").write_bytes(b"half")
        assert step_of(make(tmp_path).load()) == 10
        assert leftover.exists()
        save(make(tmp_path), 20)
        assert checkpoint_names(tmp_path) == ["step-00000010", "step-00000020"]

    def test_a_checkpoint_moved_aside_is_read_and_put_back(self, tmp_path: Path) -> None:
        place = save(make(tmp_path), 10)
        os.rename(place, place.with_name(".old-step-00000010"))
        assert step_of(make(tmp_path).load()) == step_of(make(tmp_path).load("step-00000010")) == 10
        assert [one["name"] for one in list_checkpoints(tmp_path)] == ["step-00000010"]
        save(make(tmp_path), 20)
        assert checkpoint_names(tmp_path) == ["step-00000010", "step-00000020"]

    def test_a_replaced_checkpoint_is_removed(self, tmp_path: Path) -> None:
        place = save(make(tmp_path), 10)
        shutil.copytree(place, place.with_name(".old-step-00000010"))
        save(make(tmp_path), 20)
        assert checkpoint_names(tmp_path) == ["step-00000010", "step-00000020"]


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(make(tmp_path), 10, 0.5)
    save(make(tmp_path), 10, 0.4)
    assert checkpoint_names(tmp_path) == ["step-00000010"]
    assert list_checkpoints(tmp_path)[0]["metrics"] == {"validation/loss": 0.4}
    assert step_of(make(tmp_path).load()) == 10


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds the path of a descriptor in /proc")
def test_files_are_synced_before_the_commit_and_the_folder_after_it(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        fsync, rename = os.fsync, os.replace

        def recorded_fsync(file: int) -> None:
            calls.append(("fsync", os.readlink(f"/proc/self/fd/{file}")))
            fsync(file)

        def recorded_rename(old: Path, new: Path) -> None:
            calls.append(("rename", str(new)))
            rename(old, new)

        patch.setattr(os, "fsync", recorded_fsync)
        patch.setattr(os, "replace", recorded_rename)
        save(make(tmp_path), 10)
    folder = tmp_path / "checkpoints"
    temporary = folder / f".tmp-step-00000010-{os.getpid()}"
    assert calls == [
        ("fsync", str(tmp_path)),
        ("fsync", str(temporary / "tensors.safetensors")),
        ("fsync", str(temporary / "state.json")),
        ("fsync", str(temporary / "manifest.json")),
        ("fsync", str(temporary)),
        ("rename", str(folder / "step-00000010")),
        ("fsync", str(folder)),
    ]


class Faults:
    """Does `act` in place of the n-th of the calls that change the disk."""

    NAMES = ("make_directory", "create", "write", "sync", "rename", "remove", "truncate")

    def __init__(self, patch: pytest.MonkeyPatch, point: int, act: Callable[[], None]) -> None:
        self.num_calls, self.point, self.act = 0, point, act
        for name in self.NAMES:
            patch.setattr(files, name, self._faulty(getattr(files, name)))

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.num_calls += 1
            if self.num_calls == self.point:
                self.act()
            return real(*args, **options)

        return call


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def save_all(run_dir: Path, steps: tuple[int, ...]) -> None:
    for step in steps:
        save(make(run_dir), step, 1.0 / step)


def save_error(run_dir: Path, step: int) -> SaveError | None:
    try:
        save(make(run_dir), step, 1.0 / step)
    except SaveError as error:
        return error
    return None


def boundaries(run_dir: Path, steps: tuple[int, ...]) -> range:
    """The numbers of the calls that the last of these saves makes."""
    save_all(run_dir, steps[:-1])
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, 0, lambda: None)
        save_all(run_dir, steps[-1:])
    return range(1, faults.num_calls + 1)


def assert_usable(run_dir: Path, steps: tuple[int, ...]) -> None:
    """After the last of these saves was interrupted, the one before is complete and the run can save again."""
    names = {name.removeprefix(".old-") for name in checkpoint_names(run_dir) if not name.startswith(".tmp-")}
    assert {one["name"] for one in list_checkpoints(run_dir)} == names
    assert step_of(make(run_dir).load()) in steps[-2:]
    before = max(step for step in steps if step < steps[-1])
    assert step_of(make(run_dir).load(f"step-{before:08d}")) == before
    save(make(run_dir), 40, 1.0)
    assert step_of(make(run_dir).load()) == 40
    assert not [name for name in checkpoint_names(run_dir) if name.startswith(".")]


SEQUENCES = pytest.mark.parametrize("steps", [(10, 20), (10, 20, 20), (10, 20, 30)], ids=["new", "replace", "retire"])


class TestFaults:
    @SEQUENCES
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
    def test_a_disk_error_at_every_boundary_of_a_save(
        self, tmp_path: Path, steps: tuple[int, ...], number: int
    ) -> None:
        num_failures = 0
        for point in boundaries(tmp_path / "whole", steps):
            run_dir = tmp_path / str(point)
            save_all(run_dir, steps[:-1])
            with pytest.MonkeyPatch.context() as patch:
                Faults(patch, point, lambda: fail(number))
                error = save_error(run_dir, steps[-1])
            if error is not None:
                num_failures += 1
                assert os.strerror(number) in str(error)
                assert str(run_dir / "checkpoints") in str(error)
                assert error.exit_code == 4
                assert {step_of(make(run_dir).load(f"step-{step:08d}")) for step in steps[:-1]} == {*steps[:-1]}
                assert not list((run_dir / "checkpoints").glob(".tmp-*"))
            assert_usable(run_dir, steps)
        assert num_failures >= 12  # errors after the commit do not fail the save

    def test_a_write_cut_short(self, tmp_path: Path) -> None:
        """A limit on file sizes stands for a full disk: the kernel accepts a part of the data and then refuses."""
        import resource

        save(make(tmp_path), 10)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
            with pytest.raises(DataError, match="File too large"):
                save(make(tmp_path), 20)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert checkpoint_names(tmp_path) == ["step-00000010"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only directories")
    def test_a_read_only_directory(self, tmp_path: Path) -> None:
        save(make(tmp_path), 10)
        (tmp_path / "checkpoints").chmod(0o555)
        with pytest.raises(DataError, match="Permission denied"):
            save(make(tmp_path), 20)
        (tmp_path / "checkpoints").chmod(0o755)
        assert step_of(make(tmp_path).load()) == 10

    def test_an_interrupt_lets_the_save_finish(self, tmp_path: Path) -> None:
        save(make(tmp_path), 10)
        checkpointer = make(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, 8, lambda: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                save(checkpointer, 20)
            assert step_of(checkpointer.load()) == 20
        assert checkpoint_names(tmp_path) == ["step-00000010", "step-00000020"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@SEQUENCES
def test_death_at_every_boundary_of_a_save(tmp_path: Path, steps: tuple[int, ...]) -> None:
    for point in boundaries(tmp_path / "whole", steps):
        run_dir = tmp_path / str(point)
        save_all(run_dir, steps[:-1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch has threads, which a forked child has not
            child = os.fork()
        if child == 0:
            try:
                Faults(pytest.MonkeyPatch(), point, lambda: os.kill(os.getpid(), signal.SIGKILL))
                save_all(run_dir, steps[-1:])
            finally:
                os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert_usable(run_dir, steps)


SAVER = """
import sys
from pathlib import Path
import torch
from wf_durability.checkpointer import DirectoryCheckpointer

torch.set_num_threads(1)
run_dir, start = Path(sys.argv[1]), int(sys.argv[2])
checkpointer = DirectoryCheckpointer(run_dir, "validation/loss", {})
for step in range(start, 10**6):
    state = {"step": step, "parts": {"model": {str(k): torch.full((50_000,), float(step + k)) for k in range(4)}}}
    checkpointer.save(state, {"step": step - step % 2, "epoch": 0}, {"validation/loss": 1.0 / step}).result()
    print(step, flush=True)
"""


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_kill_nine_at_any_instant(tmp_path: Path, kills: int) -> None:
    """Every reported checkpoint is complete after the kill; every second save replaces the previous one."""
    draw, start = random.Random(os.getpid()), 1
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for _ in range(kills):
        command = [sys.executable, "-c", SAVER, str(tmp_path), str(start)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            announced = int(process.stdout.readline())
            time.sleep(draw.uniform(0.0, 0.3))
            process.kill()
            announced = max([announced, *map(int, process.stdout.read().split())])
        state = make(tmp_path).load()
        assert announced <= state["step"] <= announced + 1
        for number, tensor in state["parts"]["model"].items():
            assert torch.equal(tensor, torch.full((50_000,), float(state["step"] + int(number))))
        start = state["step"] + 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.1, 0.2, 0.3, None, float("nan")])), min_size=1))
def test_best_and_latest_hold_for_any_order_of_saves(
    tmp_path_factory: pytest.TempPathFactory, saves: list[tuple[int, Any]]
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    for step, loss in saves:
        save(make(run_dir), step, loss)
        assert step_of(make(run_dir).load(f"step-{step:08d}")) == step
        manifests = list_checkpoints(run_dir)
        losses = [one["metrics"].get("validation/loss") for one in manifests]
        figures = [loss for loss in losses if loss is not None]
        if figures:
            best = make(run_dir).load("best")["step"]
            assert best == min(
                one["step"] for one in manifests if one["metrics"].get("validation/loss") == min(figures)
            )
    assert len(checkpoint_names(run_dir)) <= 6
