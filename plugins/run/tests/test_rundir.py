"""The run directory: files are written completely, and torn ends after a crash are not read."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.engine.cadence import Progress
from wf.errors import DataError, SaveError, UsageError
from wf.typed import finite
from wf_run.directory import claiming, rundir
from wf_run.directory.claiming import claim
from wf_run.directory.lock import locked
from wf_run.directory.recorder import Recorder
from wf_run.directory.rundir import RunDirectory
from wf_storage import files
from wf_storage.files import write_atomically
from wf_storage.manifests import read_records


class Run:
    """The attributes of a loop that the recorder reads."""

    def __init__(self, **position: int) -> None:
        self.progress, self.finished, self.hooks = Progress(**position), False, ()


def record(recorder: Recorder, step: int, **figures: Any) -> None:
    recorder.on_log(Run(step=step, batch=step), {"loss": step / 10, **figures})  # type: ignore[arg-type]  # enough of one


def lines(folder: Path, name: str = "metrics.jsonl") -> list[Any]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


# Directories


def test_create_and_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        RunDirectory.create(Path("runs") / name).update_manifest(status="done", name=name)
    assert RunDirectory.open("a").manifest["name"] == "a"
    assert RunDirectory.open(Path("runs/a")).path == Path("runs/a")
    assert RunDirectory.open("latest").path == tmp_path / "runs" / "b"
    assert RunDirectory.open("latest").run_file == tmp_path / "runs" / "b" / "run.toml"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["a", "b", "latest"]


def test_an_existing_run_directory_is_refused(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "a").update_manifest()
    with pytest.raises(UsageError, match=r"exists already\n  continue that run: wf resume .*/a "):
        RunDirectory.create(tmp_path / "a")


@pytest.mark.parametrize("left", [(), (".lock",), (".lock", "run.toml", ".manifest.json.tmp")])
def test_leftovers_of_a_run_that_never_started_are_replaced(tmp_path: Path, left: Sequence[str]) -> None:
    (tmp_path / "a").mkdir()
    for name in left:
        (tmp_path / "a" / name).touch()
    assert RunDirectory.create(tmp_path / "a").path == tmp_path / "a"


@pytest.mark.parametrize("mine", [("run.toml",), (".lock", "notes.txt"), (".lock", "run.toml", "checkpoints")])
def test_a_directory_with_other_files_is_left_alone(tmp_path: Path, mine: Sequence[str]) -> None:
    (tmp_path / "a").mkdir()
    for name in mine:
        (tmp_path / "a" / name).touch()
    with pytest.raises(UsageError, match=r"exists already\n  there is no run in it, choose another --name"):
        RunDirectory.create(tmp_path / "a")


def test_latest_is_not_a_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'latest' is another name of the newest run"):
        RunDirectory.create(tmp_path / "latest")
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot make run directory .*: Not a directory\n  choose another --run-dir"):
        RunDirectory.create(tmp_path / "file" / "run")


def test_a_run_directory_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is no run directory 'first'\n  there are no runs in runs"):
        RunDirectory.open("first")
    RunDirectory.create(Path("runs/first")).update_manifest()
    with pytest.raises(DataError, match="there is no run directory 'frist'\n  in runs: first"):
        RunDirectory.open("frist")
    for number in range(8):
        RunDirectory.create(Path(f"runs/x{number}")).update_manifest()
    with pytest.raises(DataError, match=r"in runs: x3, x4, x5, x6, x7, ... \(9 in all\)"):
        RunDirectory.open("nothing")


def test_a_run_directory_without_manifest_and_a_checkpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "a" / "run.toml").touch()
    with pytest.raises(DataError, match=r"a has no manifest.json: .*\n  train anew: wf run .*a/run.toml --name NAME"):
        RunDirectory.open(tmp_path / "a")
    for name in ("manifest.json", "state.json"):
        (tmp_path / "a" / "checkpoints" / "step-00000001" / name).touch()
    with pytest.raises(DataError, match=r"step-00000001 is a checkpoint, not a run directory\n  name its run: .*/a$"):
        RunDirectory.open(tmp_path / "a" / "checkpoints" / "step-00000001")


def test_concurrent_claims_get_different_directories(tmp_path: Path) -> None:
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x-2").symlink_to("nowhere")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim(tmp_path / "runs" / "x"), range(16)))
    assert len({one.path for one in claims}) == 16
    assert {one.path.name for one in claims} == {f"x-{number}" for number in range(3, 19)}
    for one in claims:
        one.give_up()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["x", "x-2"]


def test_giving_up_a_claim_removes_its_empty_folders(tmp_path: Path) -> None:
    first, second = (claim(tmp_path / "a" / "b" / "x") for _ in range(2))
    first.give_up()
    assert [second.path] == list((tmp_path / "a" / "b").iterdir())
    (second.path / "file").touch()
    second.give_up()
    assert (second.path / "file").exists()


def test_a_directory_used_by_another_run_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = claiming.make

    def make_and_lose_the_race(path: Path) -> None:
        make(path)  # so far the directory is free
        monkeypatch.undo()
        with RunDirectory.begin(path) as first:
            first.update_manifest(status="done")

    monkeypatch.setattr(rundir, "make", make_and_lose_the_race)
    with pytest.raises(UsageError, match="exists already"), RunDirectory.begin(tmp_path / "x"):
        raise AssertionError
    assert RunDirectory(tmp_path / "x").manifest == {"status": "done"}


# Links, pipes and other objects in a foreign directory


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    file = tmp_path / "home" / "thesis.tex"
    file.parent.mkdir()
    file.write_text("line one\nmy thesis")
    return file


@pytest.mark.parametrize("name", [".run.toml.tmp", "run.toml", ".manifest.json.tmp", "code/net.py"])
def test_writing_replaces_a_symlink_instead_of_following_it(tmp_path: Path, thesis: Path, name: str) -> None:
    own = tmp_path / "net.py"
    own.write_text("pass")
    directory = RunDirectory(tmp_path / "run")
    (directory.path / "code").mkdir(parents=True)
    (directory.path / name).symlink_to(thesis)
    directory.write_run_file("seed = 1\n")
    directory.update_manifest(status="running")
    directory.keep_code(own)
    assert thesis.read_text() == "line one\nmy thesis"
    assert not any(path.is_symlink() for path in directory.path.rglob("*"))
    assert (directory.run_file.read_text(), directory.manifest) == ("seed = 1\n", {"status": "running"})
    assert (directory.path / "code" / "net.py").read_text() == "pass"


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_records_are_written_to_plain_files_only(tmp_path: Path, thesis: Path, name: str, kind: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    _put(folder / name, kind, thesis)
    with pytest.raises(
        SaveError, match=rf"cannot write .*{name}: (it is a link|it is not a plain|Is a directory|No such)"
    ):
        Recorder(folder)
    assert thesis.read_text() == "line one\nmy thesis"
    assert not (thesis.parent / "new").exists()


@pytest.mark.parametrize("kind", ["link", "file", "dangling"])
def test_code_is_not_copied_through_a_symlink(tmp_path: Path, thesis: Path, kind: str) -> None:
    (tmp_path / "run").mkdir()
    _put(tmp_path / "run" / "code", kind, thesis.parent if kind == "link" else thesis)
    with pytest.raises(SaveError, match=r"cannot write .*code/thesis.tex: it is (a link to elsewhere|not a folder)"):
        RunDirectory(tmp_path / "run").keep_code(thesis)
    assert [file.name for file in thesis.parent.iterdir()] == ["thesis.tex"]


def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    for name in ("manifest.json", "metrics.jsonl", ".lock"):
        os.mkfifo(tmp_path / name)
    directory = RunDirectory(tmp_path)
    with pytest.raises(DataError, match=r"manifest.json cannot be read: it is not a plain file"):
        _ = directory.manifest
    with pytest.raises(DataError, match=r"metrics.jsonl cannot be read: it is not a plain file"):
        directory.records()
    with pytest.raises(DataError, match=r"cannot write .*\.lock: it is not a plain file"), locked(directory.lock_file):
        raise AssertionError


def _put(place: Path, kind: str, thesis: Path) -> None:
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.touch()
    else:
        place.symlink_to(thesis if kind == "link" else thesis.with_name("new"))


# Manifest


def test_the_manifest_is_updated(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.update_manifest(status="running", seed=1, file=Path("a"))
    directory.update_manifest(status="done", metrics={"loss": math.nan, "all": (1.0, math.inf)})
    assert directory.manifest == {
        "status": "done",
        "seed": 1,
        "file": "a",
        "metrics": {"loss": None, "all": [1.0, None]},
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", "\udcff"])
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
        _ = RunDirectory(tmp_path).manifest


@pytest.mark.parametrize("step", ["create", "write", "sync", "rename"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "manifest.json"
    write_atomically(file, "old")
    monkeypatch.setattr(files, step, fail)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


# Code


def test_code_is_copied_and_hashed(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run")
    files = [tmp_path / folder / "net.py" for folder in "abc"]
    for file, text in zip(files, ("one", "two", "one"), strict=True):
        file.parent.mkdir()
        file.write_text(text)
    kept = [directory.keep_code(file) for file in files]
    assert kept[0]["file"] == kept[2]["file"] == "net.py"
    assert kept[1]["file"].startswith("net-")
    assert [(directory.path / "code" / one["file"]).read_text() for one in kept] == ["one", "two", "one"]
    assert kept[0]["sha256"] == kept[2]["sha256"] != kept[1]["sha256"]


# Records


def test_records(tmp_path: Path) -> None:
    recorder, run = Recorder(tmp_path), Run(epoch=1, step=8)
    record(recorder, 3, running_loss=math.nan)
    recorder.on_evaluation_end(run, "validation", {"loss": 0.5, "recall": [0.5, math.nan]})  # type: ignore[arg-type]  # enough of one
    run.finished = True
    recorder.on_evaluation_end(run, "test", {"loss": math.inf})  # type: ignore[arg-type]  # enough of one
    recorder.close()
    assert lines(tmp_path) == [
        {"event": "train", "split": "train", "epoch": 0, "step": 3, "loss": 0.3, "running_loss": None},
        {"event": "eval", "split": "validation", "epoch": 1, "step": 8, "loss": 0.5, "recall": [0.5, None]},
        {"event": "eval", "split": "test", "epoch": 0, "step": 8, "loss": None},
    ]
    assert RunDirectory(tmp_path).records() == lines(tmp_path)
    timings = lines(tmp_path, "timings.jsonl")
    assert [line["step"] for line in timings] == [3, 8, 8]
    assert all(line["elapsed_sec"] >= 0 and "loss" not in line for line in timings)
    assert "elapsed_sec" not in (tmp_path / "metrics.jsonl").read_text()


def test_figures_with_tolist_are_recorded_as_numbers(tmp_path: Path) -> None:
    class Scalar:
        def tolist(self) -> float:
            return 1.5

    recorder = Recorder(tmp_path)
    record(recorder, 1, grad_norm=Scalar())
    recorder.close()
    assert lines(tmp_path)[0]["grad_norm"] == 1.5


def test_without_a_directory_records_stay_in_memory() -> None:
    recorder = Recorder(None)
    record(recorder, 1)
    recorder.load_state_dict(recorder.state_dict())
    recorder.close()
    assert [one["step"] for one in recorder.records] == [1]


def test_a_record_that_cannot_be_written_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path)
    monkeypatch.setattr(files, "write", _full_disk)
    with pytest.raises(SaveError, match=r"cannot write .*metrics.jsonl: No space left"):
        record(recorder, 1)
    recorder.close()


@given(faults=st.lists(st.sampled_from(["write", "half a write", "sync", "truncate", ""]), min_size=1, max_size=6))
def test_a_run_that_survives_disk_faults_loses_no_record(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str]
) -> None:
    """One fault per step, each followed by a save: lost records are written again, and none twice."""
    folder = tmp_path_factory.mktemp("run")
    told: list[str] = []
    recorder = Recorder(folder, lambda run, error: not told.append(str(error)))  # type: ignore[func-returns-value]  # True
    for step, fault in enumerate(faults):
        with pytest.MonkeyPatch.context() as patch:
            if fault:
                patch.setattr(files, fault.split()[-1], _half_full_disk if fault == "half a write" else _full_disk)
            record(recorder, step)
            try:
                size = recorder.state_dict()["bytes"]
            except SaveError as error:
                told.append(str(error))
            else:
                assert size == (folder / "metrics.jsonl").stat().st_size
                assert [one["step"] for one in lines(folder)] == list(range(step + 1))
    record(recorder, len(faults))
    content = (folder / "metrics.jsonl").read_bytes()
    assert recorder.state_dict() == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    recorder.close()
    for name in ("metrics.jsonl", "timings.jsonl"):
        assert [one["step"] for one in lines(folder, name)] == list(range(len(faults) + 1))
    assert bool(told) == any(fault not in ("", "truncate") for fault in faults)


def _full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def _half_full_disk(stream: Any, data: Any) -> None:
    stream.write(data[: len(data) // 2])
    _full_disk()


@given(before=st.integers(0, 4), lost=st.integers(0, 4), cut=st.integers(0, 30))
def test_a_resumed_run_appends_to_the_records_of_its_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, before: int, lost: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    first = Recorder(folder)
    for step in range(before):
        record(first, step)
    state = first.state_dict()
    for step in range(before, before + lost):
        record(first, step)
    first.close()
    file = folder / "metrics.jsonl"
    if lost:  # killed while writing the last line
        file.write_bytes(file.read_bytes()[: max(state["bytes"], file.stat().st_size - cut)])

    second = Recorder(folder)
    second.load_state_dict(state)
    assert [one["step"] for one in second.records] == list(range(before))
    assert second.state_dict() == state
    record(second, 100)
    second.close()
    assert [one["step"] for one in lines(folder)] == [*range(before), 100]


def test_a_record_file_shorter_than_at_the_checkpoint_is_not_padded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    record(recorder, 1)
    recorder.load_state_dict({"bytes": 10_000})
    record(recorder, 2)
    recorder.close()
    assert [one["step"] for one in lines(tmp_path)] == [1, 2]


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl"])
def test_a_half_written_last_line_is_cut_off_before_going_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"step": 1}\n{"st')
    assert list(read_records(tmp_path / name)) == [{"step": 1}]
    recorder = Recorder(tmp_path)
    record(recorder, 2)
    recorder.close()
    assert [line["step"] for line in lines(tmp_path, name)] == [1, 2]


def test_no_records_yet(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path).records() == []


@given(
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_finite_makes_any_value_valid_json(value: Any) -> None:
    json.dumps(finite(value), allow_nan=False)


def test_a_recorder_without_files_keeps_the_loaded_state() -> None:
    recorder = Recorder(None)
    recorder.load_state_dict({"bytes": 120, "sha256": "abc"})
    assert recorder.state_dict() == {"bytes": 120, "sha256": "abc"}
