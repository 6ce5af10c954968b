"""Runs over shards on this machine, behind HTTP and in S3: killed, cut off from the network, and resumed."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

HOOK = """
import os, signal

class Kill:
    def on_step_end(self, run):
        if run.progress.step == 11 and not os.path.exists("killed"):
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""
PLAN = ("--dataset.image_size", 8, "--dataset.shuffle_buffer", 9, "--dataset.lanes", 4, "--model.channels", "[4]")
TRAIN = ("--transform", "flip", "--batch-size", 6, "--epochs", 3, "--quiet")
OFTEN = ("--checkpoint-every", "3steps", "--log-every", 1)
LAST = 21
"""42 train samples of 60 in batches of 6 are 7 steps an epoch."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five shards of 12 samples of two classes."""
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for number in range(5):
        with tarfile.open(tmp_path / "data" / f"s-{number}.tar", "w") as tar:
            for row in range(12):
                pixels, label = generator.integers(0, 100, (9, 9, 3)) + 40 * (row % 2), ("dark", "light")[row % 2]
                file = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
                for ending, content in (("png", file.getvalue()), ("cls", label.encode())):
                    info = tarfile.TarInfo(f"{number}-{row}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    (tmp_path / "kill.py").write_text(HOOK)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment variables of a local S3 server."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    server.stop()


def put(s3: dict[str, str], bucket: str, *files: Path) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3["AWS_ENDPOINT_URL"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    for file in files:
        client.put_object(Bucket=bucket, Key=file.name, Body=file.read_bytes())
    client.close()


class Network:
    """A file server whose network can be cut off after a number of range requests."""

    def __init__(self, folder: Path) -> None:
        self.left = 1 << 30
        network = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                network.left -= 1
                if network.left < 0:
                    self.close_connection = True
                    return
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                file = folder / self.path.lstrip("/")
                if not file.is_file():
                    self.send_error(404)
                    return
                content, wanted = file.read_bytes(), self.headers.get("Range")
                size = len(content)
                self.send_response(206 if wanted else 200)
                if wanted:
                    begin, end = wanted.removeprefix("bytes=").split("-")
                    last = min(int(end or size - 1), size - 1)
                    content = content[int(begin) : last + 1]
                    self.send_header("Content-Range", f"bytes {begin}-{last}/{size}")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def network(folder: Path) -> Iterator[Network]:
    pytest.importorskip("aiohttp")
    own = Network(folder)
    yield own
    own.close()


def same_runs(runs: Path, one: str, other: str, *, figures: bool = True) -> None:
    files = [f"checkpoints/step-{LAST:08}/tensors.safetensors", *(["metrics.jsonl"] if figures else [])]
    for file in files:
        assert (runs / one / file).read_bytes() == (runs / other / file).read_bytes(), file


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_of_an_epoch_and_resumed(wf: Any, tmp_path: Path, folder: Path, workers: int) -> None:
    """It is killed in the second epoch, two steps after a checkpoint."""
    line = ("run", "--dataset", "data/s-{0..4}.tar", *PLAN, *TRAIN, *OFTEN, "--hook", "+kill.py:Kill")
    line += ("--workers", workers)
    assert wf(*line, "--name", "killed").code == -signal.SIGKILL
    straight = wf(*line, "--name", "straight")
    assert straight.code == 0, straight.stderr
    resumed = wf("resume", "killed", "--quiet")
    assert resumed.code == 0, resumed.stderr
    same_runs(tmp_path / "runs", "killed", "straight")


def test_shards_in_s3_give_the_bits_of_local_files(wf: Any, tmp_path: Path, folder: Path, s3: dict[str, str]) -> None:
    """Killed and resumed with two workers, and with cached shards: the bits of a run on local files."""
    put(s3, "photos", *sorted(folder.glob("*.tar")))
    local = wf("run", "--dataset", "data/s-{0..4}.tar", *PLAN, *TRAIN, *OFTEN, "--name", "local")
    assert local.code == 0, local.stderr
    line = ("run", "--dataset", "s3://photos/s-{0..4}.tar", *PLAN, *TRAIN, *OFTEN, "--workers", 2)
    killed = wf(*line, "--hook", "+kill.py:Kill", "--name", "killed", env=s3)
    assert killed.code == -signal.SIGKILL, killed.stderr
    resumed = wf("resume", "killed", "--quiet", env=s3)
    assert resumed.code == 0, resumed.stderr
    copied = wf(*line, "--dataset.cache", "copies", "--name", "copied", env=s3)
    assert copied.code == 0, copied.stderr
    assert len(list((tmp_path / "copies").glob("*/*.tar"))) == 5
    for name in ("killed", "copied"):
        same_runs(tmp_path / "runs", "local", name)
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(tmp_path / "photo.png")
    predicted = wf("predict", "killed", "photo.png", "--json")
    assert predicted.code == 0, predicted.stderr
    assert "light" in predicted.stdout


def test_texts_in_s3(wf: Any, tmp_path: Path, s3: dict[str, str]) -> None:
    """The figures of a run on the same texts in a table."""
    texts = [(f"{('good', 'bad')[number % 2]} film {number % 7}", ("yes", "no")[number % 2]) for number in range(40)]
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for number, members in enumerate(texts):
            for ending, text in zip(("txt", "cls"), members, strict=True):
                info = tarfile.TarInfo(f"{number:02}.{ending}")
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *(",".join(row) for row in texts)]))
    put(s3, "texts", tmp_path / "t.tar")
    settings: tuple[Any, ...] = ("--model.layers", 1, "--model.heads", 2, "--model.width", 8, "--epochs", 2)
    settings += ("--no-shuffle", "--quiet", "--json")
    here = wf("run", "--dataset", "texts", "--dataset.path", "t.csv", *settings, "--name", "here")
    there = ("run", "--dataset", "webdataset-texts", "--dataset.path", "s3://texts/t.tar", *settings, "--workers", 2)
    done = wf(*there, "--name", "there", env=s3)
    assert done.code == 0, done.stderr
    assert done.json()["metrics"] == here.json()["metrics"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("s3://nobodys-bucket/a.tar", "no file 's3://nobodys-bucket/a.tar'"), ("s3://there/a-{0..1}.tar", "a-0.tar")],
)
def test_a_missing_bucket_or_key(wf: Any, s3: dict[str, str], path: str, message: str) -> None:
    put(s3, "there")
    done = wf("run", "--dataset", path, env=s3)
    assert done.code == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_tables_and_arrays_in_s3(wf: Any, tmp_path: Path, s3: dict[str, str]) -> None:
    x = np.random.default_rng(0).normal(size=(80, 3))
    y = (x[:, 0] > 0).astype(int)
    rows = [",".join(map(str, [*row, label])) for row, label in zip(x.tolist(), y, strict=True)]
    (tmp_path / "house.csv").write_text("\n".join(["a,b,c,y", *rows]) + "\n")
    np.savez(tmp_path / "house.npz", x=x, y=y)
    put(s3, "tables", tmp_path / "house.csv", tmp_path / "house.npz")
    env = {**s3, "WF_DATA_DIR": str(tmp_path / "kept")}
    for name, more in (("house.csv", ("--dataset.target", "y")), ("house.npz", ())):
        settings: tuple[Any, ...] = (*more, "--epochs", 2, "--quiet", "--json")
        there = wf("run", "--dataset", f"s3://tables/{name}", *settings, "--name", f"s3-{name[-3:]}", env=env)
        assert there.code == 0, there.stderr
        here = wf("run", "--dataset", name, *settings, "--name", f"here-{name[-3:]}")
        assert there.json()["metrics"] == here.json()["metrics"]
    assert len(list((tmp_path / "kept").rglob("house.*"))) == 2
    gone = wf("run", "--dataset", "s3://tables/nothing.csv", "--dataset.target", "y", env=env)
    assert gone.code == 4
    assert "no file 's3://tables/nothing.csv'" in gone.stderr


def test_the_network_stops_in_the_middle(wf: Any, tmp_path: Path, folder: Path, network: Network) -> None:
    """The run ends with code 4; after a resume it has the bits of an uninterrupted run."""
    line = ("run", "--dataset", f"{network.url}/s-{{0..4}}.tar", *PLAN, *TRAIN, *OFTEN, "--dataset.tries", 2)
    straight = wf(*line, "--name", "straight")
    assert straight.code == 0, straight.stderr
    network.left = ((1 << 30) - network.left) // 2
    cut = wf(*line, "--name", "cut")
    assert cut.code == 4, cut.stderr
    assert "cannot be read, tried 2 times" in cut.stderr
    assert "wf resume" in cut.stderr
    assert list((tmp_path / "runs" / "cut" / "checkpoints").iterdir())
    network.left = 1 << 30
    resumed = wf("resume", "cut", "--quiet")
    assert resumed.code == 0, resumed.stderr
    same_runs(tmp_path / "runs", "cut", "straight")
    assert json.loads((tmp_path / "runs" / "cut" / "manifest.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("path", "message"), [("{}/nothing.tar", "no file"), ("http://127.0.0.1:9/s.tar", "tried 1 time:")]
)
def test_missing_files_and_unreachable_hosts_are_refused(wf: Any, network: Network, path: str, message: str) -> None:
    done = wf("run", "--dataset", path.format(network.url), "--dataset.tries", 1)
    assert done.code == 4
    assert message in done.stderr


def test_changed_shards_are_not_resumed(wf: Any, tmp_path: Path, folder: Path) -> None:
    line = ("run", "--dataset", "data/s-{0..4}.tar", *PLAN, *TRAIN, *OFTEN, "--hook", "+kill.py:Kill")
    assert wf(*line, "--name", "killed").code == -signal.SIGKILL
    os.replace(folder / "s-1.tar", folder / "s-0.tar")
    (folder / "s-1.tar").write_bytes((folder / "s-2.tar").read_bytes())
    resumed = wf("resume", "killed", "--quiet")
    assert resumed.code != 0
    assert "data" in resumed.stderr
