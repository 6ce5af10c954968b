"""The findings of `wf doctor` about Python, torch and folders, each one provoked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wf.discovery.distributions import supported_range
from wf_cli.doctor import surroundings
from wf_cli.doctor.surroundings import Finding

TORCH = """
__version__ = "2.99.1+cpu"
class backends:
    class mps:
        @staticmethod
        def is_available(): return False
class cuda:
    @staticmethod
    def is_available(): return {available}
    @staticmethod
    def device_count(): return 2
    @staticmethod
    def get_device_name(index): return f"Device {{index}}"
class ones:
    def __init__(self, number, device):
        if device == "cuda:1": raise RuntimeError("no kernel image")
    def __add__(self, other): return self
    def sum(self): return self
    def item(self): return 16.0
"""


@pytest.fixture
def fake_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Finding]]:
    """The findings with another module in place of torch."""

    def found(text: str) -> list[Finding]:
        (tmp_path / "torch.py").write_text(text)
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        return list(surroundings.torch())

    return found


def rows(findings: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(finding.level, finding.check, finding.subject, finding.message) for finding in findings]


def test_torch_is_not_blamed_for_the_metadata_of_another_distribution(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (info := tmp_path / "odd-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Name: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(b"\xff\xfe")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = surroundings.torch()
    assert found.message.startswith("torch cannot be used here: the metadata of distribution 'odd' is damaged: ")
    assert found.fix == "pip install --force-reinstall odd"


def test_an_interpreter_without_execute_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (python := tmp_path / "python").touch()
    monkeypatch.setattr(sys, "executable", str(python))
    (found,) = surroundings.torch()
    assert (found.level, found.fix) == ("problem", "run wf as a user who may execute its Python")
    assert f"{python} cannot be started: PermissionError: " in found.message


def test_no_home_folder_and_a_deleted_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_entry(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    for name in ("HOME", "XDG_CACHE_HOME", "WF_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert surroundings.data_folder().subject == str(tmp_path / f"wf-{os.getuid()}")
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert rows([surroundings.runs_folder()]) == [
        ("problem", "runs-folder", "runs", "the working directory no longer exists")
    ]


def test_torch_of_this_environment() -> None:
    torch, *accelerators = surroundings.torch()
    assert (torch.level, torch.check, torch.fix) == ("ok", "torch", None)
    assert torch.message[0].isdigit()
    assert {finding.check for finding in accelerators} == {"accelerator"}


@pytest.mark.parametrize(
    ("text", "why", "fix"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'torch'\")",
            "ModuleNotFoundError: No module named 'torch'",
            "pip install 'torch>=2.11'",
        ),
        (
            "raise ImportError('libcudart.so.12: no such file')",
            "ImportError: libcudart.so.12: no such file",
            "pip install --force-reinstall torch",
        ),
        (
            "raise SystemExit(3)",
            "the process ended with code 3 without output",
            "pip install --force-reinstall torch",
        ),
        (
            f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})",
            "the process was killed by signal 11",
            "pip install --force-reinstall torch",
        ),
        ("", "AttributeError: module 'torch' has no attribute 'cuda'", "pip install --force-reinstall torch"),
    ],
)
def test_a_broken_torch_is_a_finding(fake_torch: Callable[[str], list[Finding]], text: str, why: str, fix: str) -> None:
    (found,) = fake_torch(text)
    assert (found.level, found.check, found.message) == ("problem", "torch", f"cannot be imported: {why}")
    assert found.fix == fix


def test_importing_torch_times_out(fake_torch: Callable[[str], list[Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "TIMEOUT_SEC", 0.3)
    (found,) = fake_torch("import time\ntime.sleep(60)")
    assert found.message == "cannot be imported: no answer after 0.3 s"


def test_a_torch_that_is_too_old(fake_torch: Callable[[str], list[Finding]]) -> None:
    old, accelerator = fake_torch(TORCH.format(available=False).replace("2.99.1", "1.13.0"))
    assert (old.level, old.message) == (
        "problem",
        f"1.13.0+cpu is installed, but wf supports {supported_range('torch', 'wf-base')}",
    )
    assert old.fix == "pip install 'torch>=2.11'"
    assert (accelerator.level, accelerator.message) == ("ok", "no accelerator, runs use the CPU")


def test_accelerators(fake_torch: Callable[[str], list[Finding]]) -> None:
    assert rows(fake_torch(TORCH.format(available=True))) == [
        ("ok", "torch", "torch", "2.99.1+cpu"),
        ("ok", "accelerator", "cuda:0", "Device 0"),
        ("problem", "accelerator", "cuda:1", "Device 1: RuntimeError: no kernel image"),
    ]


def test_python_and_wf(monkeypatch: pytest.MonkeyPatch) -> None:
    assert surroundings.python().message.startswith("3.")
    assert rows([surroundings.wf_itself()]) == [("ok", "wf", "wf-core", "0.1.0")]
    for installed, words in {"0.0.1": "the code is 0.1.0, its metadata says 0.0.1", None: "is missing"}.items():
        monkeypatch.setattr(surroundings, "core_version", lambda version=installed: version)
        found = surroundings.wf_itself()
        assert (found.level, words in found.message) == ("problem", True)
        assert found.fix is not None


def test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(folder: Path) -> tuple[str, str]:
        monkeypatch.setenv("WF_DATA_DIR", str(folder))
        finding = surroundings.data_folder()
        assert (finding.check, finding.subject) == ("data-folder", str(folder))
        return finding.level, finding.message

    assert found(tmp_path / "new") == ("note", "does not exist yet")
    assert found(tmp_path) == ("ok", "contains no dataset")
    for number in range(10):
        (tmp_path / f"data-{number}").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / ".hidden").mkdir()
    names = ", ".join(f"data-{number}" for number in range(8))
    assert found(tmp_path) == ("ok", f"contains {names} and 2 more")
    assert found(tmp_path / "file") == ("problem", "does not exist and cannot be created")
    assert found(tmp_path / "file" / "deeper") == ("problem", "does not exist and cannot be created")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert found(tmp_path) == ("note", f"contains {names} and 2 more; not writable")
    assert found(tmp_path / "new") == ("problem", "does not exist and cannot be created")


def test_default_data_folder_is_created_by_the_first_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WF_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    finding = surroundings.data_folder()
    assert (finding.level, finding.message) == ("ok", "does not exist yet; the first download creates it")


def test_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> tuple[str, str]:
        finding = surroundings.runs_folder()
        assert (finding.check, finding.subject) == ("runs-folder", str(tmp_path / "runs"))
        return finding.level, finding.message

    monkeypatch.chdir(tmp_path)
    assert found() == ("ok", "does not exist yet; the first run creates it")
    (tmp_path / "runs").touch()
    assert found() == ("problem", "does not exist and cannot be created")
    (tmp_path / "runs").unlink()
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "manifest.json").touch()
    assert found() == ("ok", "contains 1 run")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert found() == ("problem", "not writable")
