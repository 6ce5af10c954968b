"""The command group: help, `-p` anywhere, exit codes and printed errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wf.registry import Registry
from wf_cli.process import limit_spinning

COMMANDS = Registry.discover(only_builtin=True).names("command")
WF = [sys.executable, "-P", "-m", "wf_cli"]


def test_wf_alone_helps(wf: Any) -> None:
    result = wf(env={"COLUMNS": "80"})
    assert (result.code, result.stderr) == (0, "")
    assert result == wf("--help", env={"COLUMNS": "80"}) == wf("-h", env={"COLUMNS": "80"})
    assert "wf run --loss focal --optimizer adam" in result.stdout
    assert "..." not in result.stdout.replace("COMMAND ...", "").replace("models, ...", "")
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert all(f"\n  {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("width", [80, 120])
def test_help_of_every_command_fits_the_terminal(wf: Any, verb: str, width: int) -> None:
    result = wf(verb, "--help", env={"COLUMNS": str(width)})
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: wf {verb}")
    assert all(len(line) <= width for line in result.stdout.splitlines())


def test_version(wf: Any) -> None:
    assert (wf("--version").code, wf("--version").stdout) == (0, "wf, version 0.1.0\n")


@pytest.mark.parametrize(
    "line",
    [
        "-p plug.py list losses --json",
        "list -p plug.py losses --json",
        "list losses --json -pplug.py",
        "list losses --json --plugin=./plug.py",
    ],
)
def test_plugin_anywhere_on_the_line(wf: Any, folder: Path, line: str) -> None:
    names = [entry["name"] for entry in wf(*line.split()).json()]
    assert {"mine", "focal"} <= set(names)


def test_plugin_that_is_left_out(wf: Any) -> None:
    assert wf("list", "losses", "--json", "-p", "no:wf-losses", "-p", "no:wf-text").json() == []
    result = wf("run", "-p", "no:wf-losses", "--loss", "focal")
    assert result.code == 3
    assert "loss 'focal' is brought by wf-losses, which is not loaded (blocked)" in result.stderr
    for args in (["show", "focal-loss"], ["show", "loss", "mae"]):
        assert "is brought by wf-losses" in wf(*args, "-p", "no:wf-losses").stderr


def test_only_builtin(wf: Any) -> None:
    names = {plugin["name"] for plugin in wf("--only-builtin", "list-plugins", "--json").json()}
    assert {"wf-losses", "wf-training"} <= names
    assert all(name.startswith("wf-") for name in names)


def test_autoload_can_be_turned_off(wf: Any, folder: Path) -> None:
    off = {"WF_DISABLE_PLUGIN_AUTOLOAD": "1"}
    assert wf("list-plugins", "--json", env=off).json() == []
    assert "WF_DISABLE_PLUGIN_AUTOLOAD is set" in wf("list-plugins", env=off).stdout
    assert [plugin["name"] for plugin in wf("list-plugins", "--json", "-p", "plug.py", env=off).json()] == ["plug"]


def test_traceback_of_an_error_on_request(wf: Any) -> None:
    assert "Traceback" not in wf("run", "--loss", "focl").stderr
    result = wf("run", "--loss", "focl", "--traceback")
    assert result.code == 2
    assert "Traceback" in result.stderr
    assert "wf: unknown loss 'focl'" in result.stderr


def test_constructor_of_a_plugin_that_raises(wf: Any, folder: Path) -> None:
    result = wf("run", "-p", "plug.py", "--model", "raiser", "--epochs", 1)
    assert (result.code, result.stdout) == (1, "")
    assert "Traceback" in result.stderr
    assert "in model 'raiser' of plug, while it is made: RuntimeError: boom" in result.stderr
    assert result.stderr.endswith("RuntimeError: boom\n")
    assert not (folder / "runs").exists()


def test_user_code_that_raises_during_a_run(wf: Any, folder: Path) -> None:
    result = wf("run", "--model", "net.py:Crash", "--epochs", 1, "--quiet", "--name", "crash")
    assert (result.code, result.stdout) == (1, "")
    assert "Traceback" in result.stderr
    assert result.stderr.endswith(f"wf: unexpected failure in {folder / 'net.py'}: RuntimeError: boom\n")
    manifest = json.loads((folder / "runs/crash/manifest.json").read_text())
    assert (manifest["status"], manifest["reason"]) == ("failed", f"in {folder / 'net.py'}: RuntimeError: boom")


def test_pipe_closed_while_listing_prints_no_error(folder: Path) -> None:
    wf = subprocess.Popen([*WF, "list", "--json", "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert wf.stdout is not None
    assert wf.stderr is not None
    assert wf.stdout.readline() == "[\n"
    wf.stdout.close()
    assert wf.stderr.read() == ""
    wf.wait()
    wf.stderr.close()


def test_list_into_head(folder: Path) -> None:
    done = subprocess.run(f"{' '.join(WF)} list | head -1", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dataset: ")


def test_module_is_the_command(wf_process: Any, wf: Any) -> None:
    assert wf_process("list", "schedulers") == wf("list", "schedulers")


def test_installed_plugin_that_is_broken_harms_no_other(wf_process: Any, folder: Path) -> None:
    info = folder / "site" / "somebodys_losses-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-losses\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[wf.plugins]\nmain = broken\n")
    (folder / "site" / "broken.py").write_text("import no_such_package_of_anybody\n")
    env = {"PYTHONPATH": str(folder / "site")}

    listed = {plugin["name"]: plugin for plugin in wf_process("list-plugins", "--json", env=env).json()}
    assert (listed["somebodys-losses"]["status"], listed["somebodys-losses"]["version"]) == ("failed", "1.2")
    result = wf_process("list", "losses", env=env)
    assert (result.code, "focal" in result.stdout) == (0, True)
    assert "warning: plugin 'somebodys-losses' could not be loaded: ModuleNotFoundError" in result.stderr
    assert "-p no:somebodys-losses" in result.stderr
    result = wf_process("run", "--loss", "theirs", env=env)
    assert result.code == 2
    assert "it may be in a plugin that is not loaded: somebodys-losses (failed)" in result.stderr
    assert wf_process("list", "losses", "-p", "no:somebodys-losses", env=env).stderr == ""


@pytest.mark.parametrize("content", [b"[wf.plugins]\nmain\n", b"\xff\xfe"])
def test_damaged_metadata_that_breaks_torch_is_named(wf_process: Any, tmp_path: Path, content: bytes) -> None:
    info = tmp_path / "site" / "damaged-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: damaged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(content)
    result = wf_process(
        "run", "--dataset", "line", "--epochs", "1", "--quiet", env={"PYTHONPATH": str(tmp_path / "site")}
    )
    assert result.code == 3
    assert "wf: torch cannot be used here: the metadata of distribution 'damaged' is damaged: " in result.stderr
    assert result.stderr.endswith("try: pip install --force-reinstall damaged\n")
    assert wf_process("list", "losses", env={"PYTHONPATH": str(tmp_path / "site")}).code == 0


# The end of the output


@pytest.mark.parametrize("args", [["list"], ["--help"], ["show", "focal"], ["list", "--json"], ["run", "--help"]])
def test_output_to_a_closed_pipe_exits_with_code_141(folder: Path, args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as out:
        done = subprocess.run([*WF, *args], stdout=out, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("args", [["list"], ["--help"], ["list", "--json"]])
def test_a_full_disk(folder: Path, args: list[str]) -> None:
    with open("/dev/full", "w") as out:
        done = subprocess.run([*WF, *args], stdout=out, stderr=subprocess.PIPE, text=True, cwd=folder)
    assert done.returncode == 4
    assert done.stderr == "wf: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("to", ["a full disk", "a reader that has gone"])
def test_a_run_completes_when_standard_error_cannot_be_written(folder: Path, to: str) -> None:
    if to == "a full disk":
        err = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, err = os.pipe()
        os.close(reader)
    line = ["run", "--dataset", "iris", "--model", "linear", "--epochs", "2", "--name", "x"]
    done = subprocess.run([*WF, *line], stdout=subprocess.PIPE, stderr=err, text=True, cwd=folder)
    os.close(err)
    assert done.returncode == 0
    assert done.stdout.startswith("              loss  accuracy\ntrain ")
    manifest = json.loads((folder / "runs/x/manifest.json").read_text())
    assert (manifest["status"], manifest["disabled_hooks"]) == ("done", [])
    assert list((folder / "runs/x/checkpoints").iterdir())


def test_a_broken_pipe_error_of_a_component_is_reported_as_its_error(wf: Any, folder: Path) -> None:
    code = "def gone(predictions, targets):\n    raise BrokenPipeError('the server is gone')\n"
    (folder / "gone.py").write_text(code)
    result = wf("run", "--loss", "gone.py:gone", "--dataset", "iris", "--quiet", "--epochs", 1)
    assert result.code == 1
    assert result.stderr.endswith("gone.py: BrokenPipeError: the server is gone\n")


AT_THE_END = """
import atexit, ctypes, os, threading, time
import torch
libc = ctypes.CDLL(None)  # of which the next line lets the process abort at its end, as a thread of torch does at times
getattr(libc, "__cxa_atexit")(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
atexit.register(lambda: open("exit-handler", "w"))
threading.Thread(target=lambda: (time.sleep(0.5), open("thread", "w"))).start()


class Net(torch.nn.Linear):
    def __init__(self, num_features: int, num_outputs: int) -> None:
        super().__init__(num_features, num_outputs)
"""


def test_exit_handlers_and_threads_at_exit_do_not_change_the_result(wf_process: Any, folder: Path) -> None:
    (folder / "net.py").write_text(AT_THE_END)
    line = ["run", "--dataset", "iris", "--model", "net.py:Net", "--epochs", "1", "--json", "--quiet"]
    result = wf_process(*line, cwd=folder)
    assert (result.code, result.json()["status"]) == (0, "done")
    assert (folder / "exit-handler").exists()
    assert (folder / "thread").exists()


OPENMP = [
    ({}, {"GOMP_SPINCOUNT": "10000"}),
    ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
]


@pytest.mark.parametrize(("given", "openmp"), OPENMP)
def test_a_users_spin_count_is_kept(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], openmp: dict[str, str]
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.setenv(name, given.get(name, ""))  # restored after the test, whatever it was
        if name not in given:
            monkeypatch.delenv(name)
    limit_spinning()
    assert {name: os.environ[name] for name in names if name in os.environ} == openmp


@pytest.mark.parametrize(
    ("given", "openmp"), [OPENMP[0], *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in OPENMP[1:])]
)
def test_openmp_spin_count_is_set_unless_the_user_set_it(
    wf_process: Any, folder: Path, given: dict[str, str], openmp: dict[str, str]
) -> None:
    unset = dict.fromkeys(("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"))
    result = wf_process("run", "--dataset", "iris", "--epochs", "1", "--name", "r", cwd=folder, env=unset | given)
    assert result.code == 0, result.stderr
    assert json.loads((folder / "runs/r/manifest.json").read_text())["openmp"] == openmp
