"""Disk faults and killed processes at every operation: reported checkpoints exist, and no bit is lost."""

from __future__ import annotations

import functools
import json
import os
import pickle
import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forkserver import ForkServer, Result
from runs import checkpoints, manifest

from wf_durability.checkpointer import read_checkpoint
from wf_durability.manifest import DamagedCheckpoint

pytestmark = pytest.mark.xdist_group("faults")  # one worker has the server and the uninterrupted runs

FAULTS = Path(__file__).with_name("faults.py")
NUM_KILLS = int(os.environ.get("WF_KILLS", "100"))
"""How many times the test of random instants kills; `make soak` asks for more."""
STRIDE = 1 if "WF_KILLS" in os.environ else 3
"""Of the variants of a fault that is tried at every operation, each so many operations are tried."""

thinned = pytest.mark.parametrize(
    "thin", [pytest.param(1, id="all", marks=pytest.mark.exhaustive), pytest.param(20, id="every 20th")]
)
"""Tries a fault everywhere, or at every so many of its places, which are others for each action."""

MODEL = (
    *("--dataset", "iris", "--model", "mlp", "--model.hidden", "[4]", "--model.dropout", "0.2", "--optimizer", "sgd"),
    *("--optimizer.momentum", "0.9", "--batch-size", "16", "--log-every", "3", "--quiet"),
)
TWO_EPOCHS = (*MODEL, "--epochs", "2", "--checkpoint-every", "5steps")
SHORT = (*TWO_EPOCHS, "--checkpointer.keep_last", "1")
"""14 steps and three checkpoints: the second one in the middle of an epoch, with the first one to be removed."""
LONG = (*MODEL, "--epochs", "20", "--checkpoint-every", "3steps")
"""140 steps and 47 checkpoints."""

Places = list[tuple[str, int]]


@dataclass
class Machine:
    """Runs `wf` in a folder of its own.

    Args:
        server: Makes the processes.
        folder: In memory if possible, because these tests are about the order of writes and not about the disk.
    """

    server: ForkServer
    folder: Path

    def wf(self, *args: str, fault: str = "none:none:0", timeout: float = 240, **env: str) -> Result:
        names = {"WF_FAULT": fault, "WF_TOLD": str(self.folder / "told"), "NO_COLOR": "1", "COLUMNS": "120", **env}
        return self.server.run(args, self.folder, {**os.environ, **names}, timeout)

    def run(self, plan: tuple[str, ...], fault: str = "none:none:0", **more: Any) -> Result:
        return self.wf("run", *plan, "--hook", f"+{FAULTS}:Tell", "--name", "run", fault=fault, **more)

    def resume(self, fault: str = "none:none:0", **more: Any) -> Result:
        return self.wf("resume", "run", "--quiet", fault=fault, **more)

    @property
    def place(self) -> Path:
        return self.folder / "runs" / "run"

    def reported_step(self) -> int:
        """The step of the last checkpoint reported as durable; 0 for none."""
        file = self.folder / "told"
        lines = file.read_text().split() if file.exists() else []
        return max((int(line.rpartition("-")[2]) for line in lines), default=0)

    def saved(self) -> int:
        """The step of the newest valid checkpoint; 0 for none. Only checkpoints being written may be damaged."""
        folder = self.place / "checkpoints"
        found = checkpoints(self.place) if folder.is_dir() else []
        for path in [*found, *(folder.glob(".old-*"))]:
            read_checkpoint(path)
        steps = [int(path.name.rpartition("-")[2]) for path in [*found, *folder.glob(".old-*")]]
        return max(steps, default=0)

    def clear(self) -> None:
        for path in (self.folder / "runs", self.folder / "told"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def warm() -> Iterator[ForkServer]:
    server = ForkServer(warm=["run", *SHORT, "--name", "warm"])
    yield server
    server.close()


@pytest.fixture
def machine(warm: ForkServer) -> Iterator[Machine]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Machine(warm, Path(folder))


@pytest.fixture(scope="module")
def straight(warm: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], dict[str, Any]]:
    """The end of an uninterrupted run."""

    @functools.cache
    def end(plan: tuple[str, ...]) -> dict[str, Any]:
        unhurt = Machine(warm, tmp_path_factory.mktemp("straight"))
        done = unhurt.run(plan)
        assert done.code == 0, done.stderr
        return end_of(unhurt)

    return end


@pytest.fixture(scope="module")
def operations(warm: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every operation of a run, as thread and name."""
    counted = Machine(warm, tmp_path_factory.mktemp("counted"))
    assert counted.run(SHORT, WF_OPERATIONS=str(counted.folder / "operations")).code == 0
    return (counted.folder / "operations").read_text().splitlines()


@pytest.fixture(scope="module")
def points(operations: list[str]) -> Places:
    """Every operation of a run, as thread and number."""
    counts = Counter(line.partition(" ")[0] for line in operations)
    assert counts["main"] > 40
    assert counts["background"] > 50
    assert {line.partition(" ")[2] for line in operations if line.startswith("background")} == {
        *("make_directory", "create", "write", "sync", "rename", "remove")
    }
    return [(thread, number) for thread in counts for number in range(1, counts[thread] + 1)]


@pytest.fixture(scope="module")
def after_a_checkpoint(points: Places, operations: list[str]) -> Places:
    """The places after the first removal: an old checkpoint is removed once a newer one is durable."""
    background = [name for thread, name in (line.split() for line in operations) if thread == "background"]
    first = background.index("remove") + 1
    return [(thread, number) for thread, number in points if thread == "background" and number >= first]


def end_of(machine: Machine) -> dict[str, Any]:
    """Everything that a run leaves, except for times and reasons."""
    last = checkpoints(machine.place)[-1]
    ended = manifest(machine.place)
    return {
        "checkpoint": last.name,
        "tensors": (last / "tensors.safetensors").read_bytes(),
        "state": (last / "state.json").read_bytes(),
        "metrics": (machine.place / "metrics.jsonl").read_bytes(),
        **{key: ended[key] for key in ("status", "reason", "epochs", "steps", "metrics")},
    }


def sample(places: Places, thin: int, of: str) -> Places:
    """A fraction of the places, always the same ones for the same `of`."""
    return places[len(of) % thin :: thin]


def count(record_property: Any, text: str) -> None:
    """Add a count to the report of the tests."""
    record_property("counted", text)


def finish(machine: Machine, wanted: Mapping[str, Any]) -> bool:
    """Resume a damaged run: from no older checkpoint than the last reported one, to the end of an uninterrupted run.

    Returns:
        Whether there was a checkpoint to resume from.
    """
    saved = machine.saved()
    assert saved >= machine.reported_step()
    if not (machine.place / "manifest.json").exists():
        assert not saved
        refused = machine.resume()
        assert refused.code == 4, refused.stderr
        assert "Traceback" not in refused.stderr
        return False
    if manifest(machine.place)["status"] != "done":
        resumed = machine.resume()
        assert resumed.code == 0, resumed.stderr
        assert ("it starts over" in resumed.stderr) == (not saved)
    left = [path.name for path in (machine.place / "checkpoints").iterdir() if path.name.startswith(".")]
    assert not left or saved == 14, "the next save removes leftovers"
    assert end_of(machine) == wanted
    return saved > 0


@thinned
@pytest.mark.parametrize("action", ["kill", "power", "power-data"])
def test_a_kill_or_power_cut_at_every_operation(
    machine: Machine,
    points: Places,
    after_a_checkpoint: Places,
    straight: Any,
    action: str,
    thin: int,
    record_property: Any,
) -> None:
    places = {"kill": points, "power": points[1::STRIDE], "power-data": points[::STRIDE]}[action]
    chosen = sample(places, thin, action)
    num_resumed = 0
    for thread, number in chosen:
        died = machine.run(SHORT, f"{action}:{thread}:{number}")
        assert died.code == -9, (thread, number, died.stderr)
        found = finish(machine, straight(SHORT))
        assert found or (thread, number) not in after_a_checkpoint, (thread, number)
        num_resumed += found
        if not (machine.place / "manifest.json").exists() and number % STRIDE == 0:
            begun = machine.run(SHORT)
            assert begun.code == 0, begun.stderr
            assert end_of(machine) == straight(SHORT)
        machine.clear()
    assert set(chosen) & set(after_a_checkpoint) or thin > 1
    what = {"kill": "kill -9", "power": "power cut, names lost", "power-data": "power cut, data lost"}[action]
    count(record_property, f"{what}: {len(chosen)} boundaries, {num_resumed} with a checkpoint to go on from")


@thinned
@pytest.mark.parametrize("action", ["ENOSPC+", "EIO", "EROFS+"])
def test_a_failing_operation_stops_the_run(
    machine: Machine, points: Places, straight: Any, action: str, thin: int, record_property: Any
) -> None:
    chosen = sample(points if action == "ENOSPC+" else points[::STRIDE], thin, action)
    ends: Counter[int] = Counter()
    for thread, number in chosen:
        done = machine.run(SHORT, f"{action}:{thread}:{number}")
        ends[done.code] += 1
        assert done.code in (0, 4), (thread, number, done.stderr)
        if done.code == 4:
            assert os.strerror({"ENOSPC+": 28, "EIO": 5, "EROFS+": 30}[action]) in done.stderr
            assert "Traceback" not in done.stderr
            finish(machine, straight(SHORT))
        else:  # an old checkpoint could not be removed
            assert end_of(machine) == straight(SHORT)
        machine.clear()
    assert ends[4] > 0.6 * len(chosen) or thin > 1
    count(record_property, f"{action.rstrip('+')}, stop: {len(chosen)} boundaries, {ends[4]} ended the run with code 4")


@thinned
def test_a_failing_operation_is_survived(
    machine: Machine, points: Places, straight: Any, thin: int, record_property: Any
) -> None:
    ends: Counter[str] = Counter()
    chosen = sample(points[1::STRIDE], thin, "continue")
    for thread, number in chosen:
        done = machine.run((*SHORT, "--on-checkpoint-error", "continue"), f"EIO:{thread}:{number}")
        assert "Traceback" not in done.stderr
        if done.code == 4:  # the files of the run at its start or end, or the last checkpoint
            ends["stopped"] += 1
            finish(machine, straight(SHORT))
        else:
            assert done.code == 0, done.stderr
            failed = manifest(machine.place)["failed_saves"]
            ends["went on" if failed else "nothing lost"] += 1
            assert done.stderr.count("the run continues") == len(failed)
            assert end_of(machine) == straight(SHORT)
        machine.clear()
    assert ends["went on"] > len(chosen) / 4 or thin > 1
    count(record_property, f"EIO, continue: {len(chosen)} boundaries, {dict(ends)}")


@thinned
@pytest.mark.parametrize("action", ["kill", "power"])
def test_a_kill_or_power_cut_at_every_operation_of_a_resumed_run(
    machine: Machine, points: Places, straight: Any, action: str, thin: int, record_property: Any
) -> None:
    """A run that was killed within its second checkpoint is killed again while it resumes."""
    writes = [point for point in points if point[0] == "background"]
    machine.run(SHORT, f"kill:background:{len(writes) // 2}")
    assert machine.saved() == 5
    before = machine.folder.with_name(f"{machine.folder.name}-before")
    shutil.copytree(machine.folder, before, symlinks=True)
    num_tried = 0
    try:
        for thread in ("main", "background"):
            for number in range(1 + thin // 2, 1000, thin if action == "kill" else thin * STRIDE):
                died = machine.resume(f"{action}:{thread}:{number}")
                if died.code == 0:
                    break
                assert died.code == -9, died.stderr
                num_tried += 1
                assert finish(machine, straight(SHORT))
                shutil.rmtree(machine.folder)
                shutil.copytree(before, machine.folder, symlinks=True)
            shutil.rmtree(machine.folder)
            shutil.copytree(before, machine.folder, symlinks=True)
    finally:
        shutil.rmtree(before)
    assert num_tried >= 60 // (thin if action == "kill" else thin * STRIDE)
    count(record_property, f"{action} of a resumed run: {num_tried} boundaries")


@pytest.mark.parametrize("kills", [6, *(pytest.param(NUM_KILLS // 2, marks=pytest.mark.exhaustive) for _ in range(2))])
def test_kill_nine_at_random_instants(machine: Machine, straight: Any, kills: int, record_property: Any) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    draw, num_kills, num_chains = random.Random(seed), 0, 0
    wanted = straight(LONG)
    while num_kills < kills:
        killed = killed_after(lambda limit: machine.run(LONG, timeout=limit), draw.uniform(0.02, 1.0))
        num_kills += killed
        for _ in range(3):
            if not machine.reported_step():
                break
            assert machine.saved() >= machine.reported_step()
            num_kills += killed_after(lambda limit: machine.resume(timeout=limit), draw.uniform(0.02, 0.8))
        finish(machine, wanted)
        machine.clear()
        num_chains += 1
    count(record_property, f"kill -9 at random: {num_kills} kills of {num_chains} runs survived")


def killed_after(start: Callable[[float], Result], seconds: float) -> bool:
    """Start `wf` and kill it; False if it ended before that."""
    try:
        start(seconds)
    except TimeoutError:
        return True
    return False


HARMS: dict[str, Callable[[bytes, int], bytes]] = {
    "flip": lambda data, at: data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :],
    "truncate": lambda data, at: data[:at],
    "zero": lambda data, at: data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :],
}


@thinned
def test_damage_in_every_region_of_every_file_is_detected(
    machine: Machine, straight: Any, thin: int, record_property: Any
) -> None:
    """A damaged checkpoint is skipped with a reason, and the run resumes from the previous one to the same bits."""
    assert machine.run((*TWO_EPOCHS, "--checkpointer.keep_last", "3")).code == 0
    newest = checkpoints(machine.place)[-1]
    whole = {path.name: path.read_bytes() for path in newest.iterdir()}
    num_caught = 0
    for name, data in whole.items():
        places = {0, 7, 8, len(data) // 2, len(data) - 2, *range(0, len(data) - 1, max(1, len(data) * thin // 120))}
        for kind, harm in HARMS.items():
            for at in sorted(places):
                if (harmed := harm(data, at)) == data:
                    continue
                (newest / name).write_bytes(harmed)
                with pytest.raises(DamagedCheckpoint):
                    read_checkpoint(newest)
                num_caught += 1
            if (newest / name).read_bytes() != data and (thin == 1 or kind == "flip"):
                update = manifest(machine.place) | {"status": "interrupted"}
                (machine.place / "manifest.json").write_text(json.dumps(update))
                resumed = machine.resume()
                assert resumed.code == 0, (name, kind, resumed.stderr)
                assert f"{newest.name} is skipped: " in resumed.stderr
                assert name in resumed.stderr
                assert end_of(machine) == straight(SHORT)
        (newest / name).write_bytes(data)
    assert num_caught > 900 // thin
    count(record_property, f"flips, cuts and zeroed blocks in checkpoints: {num_caught} caught")


REFILL = '''
import os
from pathlib import Path

class Refill:
    """Fills the disk at one step, once all is saved, and frees it at another."""

    def on_step_end(self, run):
        file = Path(os.environ.get("WF_FILL", ""))
        if file.name and run.progress.step == 8:
            run.wait_for_checkpoint()
            with file.open("wb", buffering=0) as stream:
                try:
                    while stream.write(bytes(1 << 12)):
                        pass
                except OSError:
                    pass
        if file.name and run.progress.step == 12:
            run.wait_for_checkpoint()
            file.unlink()
'''


@pytest.mark.parametrize("policy", ["stop", "continue"])
def test_a_full_disk(machine: Machine, straight: Any, policy: str, record_property: Any) -> None:
    """A real disk of 1 MB that is full from step 8 on and has room again at step 12."""
    disk = machine.folder / "runs"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    try:
        (machine.folder / "refill.py").write_text(REFILL)
        plan = (*SHORT, "--hook", "+refill.py:Refill", "--on-checkpoint-error", policy)
        done = machine.run(plan, WF_FILL=str(disk / "filler"))
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        (disk / "filler").unlink(missing_ok=True)
        if policy == "continue":
            assert done.code == 0, done.stderr
            assert {failed["step"] for failed in manifest(machine.place)["failed_saves"]} <= {*range(8, 13)}
            assert end_of(machine) == straight(SHORT)
        else:
            assert (done.code, machine.saved()) == (4, 5)
            assert finish(machine, straight(SHORT))
        count(record_property, f"a full disk, {policy}: 1 run, to the same bits")
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("policy", ["stop", "continue"])
def test_a_disk_that_becomes_read_only(machine: Machine, straight: Any, policy: str) -> None:
    done = machine.run((*SHORT, "--on-checkpoint-error", policy), "EROFS+:background:25")
    assert done.code == 4, done.stderr
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
    assert machine.saved() == 5
    assert ("the run continues" in done.stderr) is (policy == "continue")
    assert finish(machine, straight(SHORT))


def test_a_planted_pickle_is_never_executed(machine: Machine, straight: Any) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(machine.folder / "executed"),)

    machine.run(SHORT, "kill:background:40")
    data = pickle.dumps(Planted())
    for folder in (machine.place, machine.place / "checkpoints", checkpoints(machine.place)[-1]):
        for name in ("state.pt", "tensors.pt", "data.pkl", "pytorch_model.bin"):
            (folder / name).write_bytes(data)
    newest = machine.place / "checkpoints" / "step-00000013"
    newest.mkdir()
    for name in ("tensors.safetensors", "state.json", "manifest.json"):
        (newest / name).write_bytes(data)
    assert machine.resume().code == 0
    assert not (machine.folder / "executed").exists()
    assert (checkpoints(machine.place)[-1] / "tensors.safetensors").read_bytes() == straight(SHORT)["tensors"]
