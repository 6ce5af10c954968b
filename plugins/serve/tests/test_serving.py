"""``wf serve`` as a process, over HTTP."""

from __future__ import annotations

import base64
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wf as wf_package
from wf_run.api import open_run

ROW = {"sepal length (cm)": 5.1, "sepal width (cm)": 3.5, "petal length (cm)": 1.4, "petal width (cm)": 0.2}


class Server:
    """A server of a run, on a free port."""

    def __init__(self, folder: Path, *args: str) -> None:
        command = [sys.executable, "-m", "wf_cli", "serve", *args, "--port", "0"]
        self.process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        told = ""
        while "serving" not in told:
            told = self.lines.get(timeout=60)
        self.port = int(told.partition("http://127.0.0.1:")[2].partition(" ")[0])

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.lines.put(line)
        self.lines.put("serving ended: http://127.0.0.1:0 ")

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, data, {"Content-Type": kind} if data is not None else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            return code, stream.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.reader.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served")
    before = Path.cwd()
    os.chdir(made)
    try:
        wf_package.run(dataset="iris", model="linear", epochs=2, name="iris", quiet=True)
        model = {"use": "mlp", "hidden": [8]}
        wf_package.run(dataset="digits", model=model, epochs=1, batch_size=256, name="digits", quiet=True)
    finally:
        os.chdir(before)
    return made


@pytest.fixture(scope="module")
def iris(folder: Path) -> Iterator[Server]:
    limits = ("--max-bytes", "20000", "--max-records", "50", "--batch-wait-ms", "50")
    server = Server(folder, "iris/bundle", *limits)
    yield server
    server.kill()


def test_predictions_equal_the_models(iris: Server, folder: Path) -> None:
    trained = open_run(folder / "runs" / "iris")
    expected = trained.answers(trained.predict(trained.raw([ROW])))
    assert iris.ask("POST", "/predict", ROW) == (200, {"predictions": expected})
    status, found = iris.ask("POST", "/predict", [ROW, {**ROW, "petal length (cm)": 6}])
    assert status == 200
    assert [one["label"] in trained.class_names for one in found["predictions"]] == [True, True]
    assert found["predictions"][0]["label"] == expected[0]["label"]


def test_its_page_works_without_a_network(iris: Server, browser: Any) -> None:
    page, asked, problems = browser.new_page(viewport={"width": 390, "height": 800}), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"http://127.0.0.1:{iris.port}/docs")
    assert "petal length (cm)" in page.inner_text("table")
    page.fill("#records", json.dumps(ROW))
    page.click("button")
    page.wait_for_function("document.getElementById('answer').textContent.startsWith('200')")
    assert '"label": "' in page.inner_text("#answer")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.fill("#records", "[")
    page.click("button")
    page.wait_for_function("document.getElementById('answer').textContent.startsWith('400')")
    page.close()
    assert all(url.startswith((f"http://127.0.0.1:{iris.port}/", "data:")) for url in asked)
    assert [text for text in problems if "400" not in text] == []


def test_concurrent_requests_share_a_batch(iris: Server) -> None:
    before = iris.ask("GET", "/health")[1]["batches"]
    rows = [{**ROW, "petal length (cm)": float(number)} for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda row: iris.ask("POST", "/predict", row)[1]["predictions"][0], rows))
    assert iris.ask("GET", "/health")[1]["batches"] - before < 8
    alone = iris.ask("POST", "/predict", rows)[1]["predictions"]
    for one, other in zip(together, alone, strict=True):
        assert one["label"] == other["label"]
        assert np.allclose(one["output"], other["output"], atol=1e-5)


def test_information_and_schema(iris: Server) -> None:
    status, said = iris.ask("GET", "/")
    assert (status, said["name"], said["model"], said["task"]) == (200, "iris", "linear", "classification")
    assert said["outputs"]["class_names"] == ["setosa", "versicolor", "virginica"]
    assert "test/accuracy" in said["figures"]
    assert said["limits"] == {"max_bytes": 20000, "max_records": 50}
    schema = iris.ask("GET", "/openapi.json")[1]["paths"]["/predict"]["post"]["requestBody"]["content"]
    record = schema["application/json"]["schema"]["anyOf"][0]
    assert record["properties"]["petal width (cm)"] == {
        "type": "number",
        "title": "Petal Width (Cm)",
        "description": "number, in cm",
    }
    assert record["required"] == list(ROW)


LACKS = {name: value for name, value in ROW.items() if name != "petal width (cm)"}
BAD: dict[str, tuple[Any, int, Sequence[str]]] = {
    "not JSON": (b"{nope", 400, ("the request is not JSON",)),
    "nothing": (b"", 400, ("the request is not JSON",)),
    "NaN": (b'{"sepal length (cm)": NaN}', 400, ("NaN is not a JSON number",)),
    "nested too deep": (b"[" * 9000, 400, ("the request is not JSON",)),
    "missing column": ([ROW, LACKS], 422, ("record 2: column 'petal width (cm)' is missing",)),
    "unknown column": ({**ROW, "colour": 1}, 422, ("column 'colour' is unknown: the model was not trained with it",)),
    "text": ({**ROW, "petal width (cm)": "wide"}, 422, ("record 1, column 'petal width (cm)'",)),
    "null": ({**ROW, "petal width (cm)": None}, 422, ("record 1, column 'petal width (cm)'",)),
    "infinite": (json.dumps(ROW).replace("0.2", "1e999").encode(), 422, ("petal width (cm)",)),
    "a list": ([[1, 2, 3, 4]], 422, ("record 1", "a record is an object")),
    "a number": (3, 422, ("record 1", "a record is an object")),
    "no records": ([], 422, ("there are no records",)),
    "many records": ([ROW] * 51, 413, ("51 records; 50 are allowed",)),
    "many bytes": (b" " * 20001, 413, ("20,001 bytes; 20,000 are allowed",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(iris: Server, name: str) -> None:
    body, status, words = BAD[name]
    found = iris.ask("POST", "/predict", body)
    assert found[0] == status, found
    told = found[1]["detail"] if isinstance(found[1]["detail"], str) else found[1]["detail"][0]["msg"]
    for word in words:
        assert word in told
    assert iris.ask("POST", "/predict", ROW)[0] == 200


def test_unknown_paths_methods_and_types_are_refused(iris: Server) -> None:
    assert iris.ask("GET", "/nothing")[0] == 404
    assert iris.ask("GET", "/predict")[0] == 405
    assert iris.ask("POST", "/predict", b"<a/>", "application/xml")[0] == 415


def test_a_body_without_a_length_is_read_no_further_than_the_limit(iris: Server) -> None:
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    with closing(HTTPConnection("127.0.0.1", iris.port, timeout=30)) as connection:
        connection.request("POST", "/predict", iter([b" " * 10_000] * 3), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "more than 20,000 bytes" in answer.read().decode()


def test_images_are_uploaded(folder: Path) -> None:
    server = Server(folder, "digits")
    try:
        data = io.BytesIO()
        Image.fromarray(np.full((8, 8), 90, np.uint8)).save(data, "PNG")
        picture = data.getvalue()
        status, one = server.ask("POST", "/predict", picture, "image/png")
        assert (status, len(one["predictions"])) == (200, 1)
        parts = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + picture + b"\r\n"
            for _ in range(3)
        )
        status, three = server.ask("POST", "/predict", parts + b"--x--\r\n", "multipart/form-data; boundary=x")
        assert status == 200, three
        assert [found["label"] for found in three["predictions"]] == [one["predictions"][0]["label"]] * 3
        assert server.ask("POST", "/predict", picture[:40], "image/png")[0] == 422
        assert server.ask("POST", "/predict", b"", "image/png")[0] == 422
        encoded = base64.b64encode(picture).decode()
        for text in (encoded, f"data:image/png;base64,{encoded}"):
            status, answer = server.ask("POST", "/predict", {"image": text})
            assert (status, answer) == (200, one)
        for wrong, words in (
            ({"image": "/etc/hostname"}, "it is not base64"),
            ({"image": base64.b64encode(b"no image").decode()}, "cannot be read: cannot identify image file\n"),
            (ROW, "column 'image' is missing"),
        ):
            status, answer = server.ask("POST", "/predict", wrong)
            assert status == 422
            assert words in answer["detail"][0]["msg"]
        assert server.ask("POST", "/predict", picture, "text/plain")[0] == 415
        code, told = server.end(signal.SIGINT)
        assert (code, told) == (0, "stopped\n")
    finally:
        server.kill()


def test_each_request_is_logged_and_the_server_ends_cleanly(folder: Path) -> None:
    server = Server(folder, "iris")
    try:
        server.ask("POST", "/predict", [ROW, ROW])
        line = server.lines.get(timeout=10)
        assert line.startswith("wf: 127.0.0.1  POST /predict  200  2 records  ")
        assert line.endswith(" ms\n")
        taken = subprocess.run(
            [sys.executable, "-m", "wf_cli", "serve", "iris", "--port", str(server.port)],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert (taken.returncode, taken.stdout) == (2, "")
        assert f"port {server.port} of 127.0.0.1 is taken by another process" in taken.stderr
        assert "--port 0 for any free one" in taken.stderr
        assert server.end() == (0, "stopped\n")
    finally:
        server.kill()


def test_unusable_models_and_addresses_are_refused(wf: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "runs" / "iris" / "bundle", tmp_path / "b")
    file = tmp_path / "b" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    flipped = wf("serve", "b", "--port", 0)
    assert (flipped.code, flipped.stdout) == (4, "")
    assert "weights.safetensors is not as it was written" in flipped.stderr
    assert wf("serve", "nowhere", "--port", 0).code == 4
    host = wf("serve", "b", "--host", "192.0.2.7", "--port", 0)
    assert host.code == 2
    assert "cannot listen on 192.0.2.7" in host.stderr
