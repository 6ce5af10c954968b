"""Runs in Weights & Biases, offline."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runs import records

KILL = """
import os, signal

class Kill:
    def on_step_end(self, run) -> None:
        if run.progress.step == 9 and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""
LINE = (
    *("run", "--dataset", "iris", "--epochs", 3, "--log-every", 1, "--checkpoint-every", "5steps", "--quiet"),
    *("--hook", "+wandb", "--hook.wandb.mode", "offline"),
)
BLOCK = 1 << 15


def messages(file: Path) -> Iterator[Any]:
    """The messages of a ``.wandb`` file: a log of LevelDB with blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, message = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        message += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def test_a_killed_run_has_each_record_once_and_its_files(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    more = ("--metric", "+confusion-matrix", "--hook", "+plots", "--hook", "+kill.py:Kill")
    done = wf(*LINE, *more, "--name", "killed")
    assert done.code == -signal.SIGKILL, done.stderr
    done = wf("resume", "runs/killed")
    assert (done.code, "failed at" in done.stderr) == (0, False), done.stderr
    run_dir = tmp_path / "runs" / "killed"
    (file,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    found = list(messages(file))
    histories = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    lines = records(run_dir)
    assert [history["step"] for history in histories] == [line["step"] for line in lines]
    assert [history["_step"] for history in histories] == list(range(len(lines)))
    for history, line in zip(histories, lines, strict=True):
        assert history[f"{line['split']}/loss"] == line["loss"]
    assert histories[-1]["test/confusion-matrix"] == lines[-1]["confusion-matrix"]
    (artifact,) = (record.artifact for record in found if record.WhichOneof("record_type") == "artifact")
    names = {entry.path for entry in artifact.manifest.contents}
    assert names > {"run.toml", "plots/loss.svg", "plots/metrics.svg", "bundle/weights.safetensors"}
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.display_name) == (json.loads((run_dir / "wandb.json").read_text())["id"], "killed")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["dataset"], config["optimizer.lr"]) == ("iris", 0.001)


def test_a_missing_key_does_not_end_the_run(wf: Any, tmp_path: Path) -> None:
    line = (*LINE[:-2], "--hook.wandb.mode", "online", "--name", "alone")
    nobody = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_API_KEY": None}
    done = wf(*line, env={**nobody, "WANDB_BASE_URL": "http://127.0.0.1:9"}, timeout=60)
    assert done.code == 0, done.stderr
    assert done.stderr.count("wf: warning: hook 'wandb' of wf-wandb failed at on_run_start of step 0") == 1
    assert records(tmp_path / "runs" / "alone")[-1]["step"] == 12
