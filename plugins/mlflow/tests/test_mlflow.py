"""Runs in MLflow, in a folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from runs import manifest, records

KILL = """
import os, signal

class Kill:
    def on_step_end(self, run) -> None:
        if run.progress.step in (9, 14) and not os.path.exists(f"killed-{run.progress.step}"):
            open(f"killed-{run.progress.step}", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""
LINE = (
    *("run", "--dataset", "iris", "--epochs", 4, "--log-every", 1, "--checkpoint-every", "5steps", "--quiet"),
    *("--hook", "+mlflow"),
)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"file://{tmp_path}/mlruns")


def points(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    found = [(point.timestamp, point.step, point.value) for point in client.get_metric_history(run_id, name)]
    return [(step, value) for _, step, value in sorted(found)]


def test_a_killed_run_has_each_point_once_and_its_files(wf: Any, client: Any, tmp_path: Path) -> None:
    (tmp_path / "kill.py").write_text(KILL)
    more = ("--metric", "+confusion-matrix", "--hook", "+plots", "--hook", "+kill.py:Kill", "--optimizer.lr", 0.01)
    done = wf(*LINE, *more, "--name", "killed")
    for _ in range(2):
        assert done.code == -signal.SIGKILL, done.stderr
        done = wf("resume", "runs/killed")
    assert done.code == 0, done.stderr
    run_dir = tmp_path / "runs" / "killed"
    said = json.loads((run_dir / "mlflow.json").read_text())
    run = client.get_run(said["run_id"])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "killed")
    lines = records(run_dir)
    expected = [(line["step"], line["loss"]) for line in lines if line["split"] == "validation"]
    assert points(client, run.info.run_id, "validation/loss") == expected
    losses = [(line["step"], line["loss"]) for line in lines if line["split"] == "train"]
    assert points(client, run.info.run_id, "train/loss") == losses
    assert (run.data.params["optimizer.lr"], run.data.params["dataset"]) == ("0.01", "iris")
    assert "overfitting" in run.data.tags["wf.fit"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"run.toml", "plots", "bundle", "figures"}
    kept = {file.path for folder in ("plots", "bundle") for file in client.list_artifacts(run.info.run_id, folder)}
    assert kept > {"plots/loss.svg", "plots/metrics.svg", "bundle/weights.safetensors"}
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_an_unreachable_server_does_not_end_the_run(wf: Any, tmp_path: Path) -> None:
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}
    done = wf(*LINE, "--hook.mlflow.tracking_uri", "http://127.0.0.1:9", "--name", "alone", env=quick)
    assert done.code == 0, done.stderr
    assert done.stderr.count("wf: warning: hook 'mlflow' of wf-mlflow failed at on_run_start of step 0") == 1
    run_dir = tmp_path / "runs" / "alone"
    assert manifest(run_dir)["status"] == "done"
    assert records(run_dir)[-1]["step"] == 16


def test_values_from_the_environment_are_not_logged(wf: Any, client: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[dataset]\nuse = "iris"\n[optimizer]\nuse = "adam"\nlr = "${env:RATE}"\n')
    done = wf("run", "run.toml", "--epochs", 1, "--hook", "+mlflow", "--name", "env", env={"RATE": "0.0625"})
    assert done.code == 0, done.stderr
    run_id = json.loads((tmp_path / "runs" / "env" / "mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).data.params["optimizer.lr"] == "${env:RATE}"
    assert not any(
        b"0.0625" in (Path(folder) / name).read_bytes()
        for folder, _, names in os.walk(tmp_path / "mlruns")
        for name in names
        if "params" in folder
    )
