"""The light core imports nothing heavy, checked in fresh interpreters, and so the command line answers at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stopwatch import seconds
from workspace import ROOT

HEAVY = ("torch", "torchvision", "sklearn", "matplotlib", "numpy", "safetensors")
LIMIT_SEC = 0.25
LIMIT_OF_ONE_COMPONENT_SEC = 0.4

OF_ONE_COMPONENT = [
    ["show", "focal"],
    ["show", "model", "torchvision/resnet18", "--json"],
    ["show", "adam", "--source"],
    ["run", "--loss", "focal", "--optimizer", "sgd", "--help"],
    ["list", "losses", "--fits", "digits"],
    ["list", "schedulers", "--fits", "supervised", "--json"],
]
MISTAKES = [
    ["show", "focl"],
    ["run", "--loss", "focl"],
    ["run", "--losss", "focal"],
    ["run", "--loss", "focal", "--loss.gama", "2"],
    ["run", "--loss", "focal", "--loss.gamma", "abc"],
    ["run", "--loss", "focal", "--loss.reduction", "maen"],
    ["run", "--scheduler", "linear-warmup", "--scheduler.then", "cosin"],
    ["run", "--dataset", "diabetes", "--loss", "ce", "--model", "cnn", "--metric", "accuracy", "--transform", "flip"],
    ["run", "--scheduler", "plateau", "--eval-splits", "train"],
    ["list", "losses", "--fits", "csv"],
]


def light_modules() -> list[str]:
    """`wf`, every module in it, every plugin's declaration, and the command line."""
    source = ROOT / "corelib/src"
    files = sorted(path.relative_to(source).with_suffix("") for path in source.rglob("*.py"))
    core = [".".join(file.parts).removesuffix(".__init__") for file in files]
    plugins = [f"{path.parent.name}.plugin" for path in sorted(ROOT.glob("plugins/*/src/*/plugin.py"))]
    return [*core, *plugins, "wf_cli.main"]


def heavy_after(code: str, *args: str) -> str:
    """The heavy modules that a fresh interpreter has imported after running `code`."""
    tail = f"\nimport sys; print('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-P", "-c", code + tail, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("HEAVY")[2].strip()


def test_light_modules_are_light() -> None:
    sources = [str(path) for path in ROOT.glob("plugins/*/src")]  # also of adapters that are not installed
    code = f"""
import importlib, sys
sys.path += {sources!r}
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules: sys.exit(name + " imported torch")
"""
    assert heavy_after(code, *light_modules()) == ""


def test_listing_does_not_load_openssl() -> None:
    code = """
import sys
from wf_cli.main import main
try:
    main(["list"])
finally:
    if "_hashlib" in sys.modules: sys.exit("it did")
"""
    assert heavy_after(code) == ""


@pytest.mark.parametrize(
    "args", [["--help"], ["list"], ["list-plugins"], ["list", "--all", "models"], ["run", "--help"]]
)
def test_listing_imports_nothing_heavy(args: list[str]) -> None:
    code = f"""
import sys
from wf_cli.main import main
try:
    code = main({args!r})
except SystemExit as stop:
    code = stop.code
assert code in (0, None), code
"""
    assert heavy_after(code) == ""


@pytest.mark.parametrize(
    ("args", "code"), [*((args, 0) for args in OF_ONE_COMPONENT), *((args, 2) for args in MISTAKES)]
)
def test_one_component_imports_nothing_heavy(args: list[str], code: int) -> None:
    run = f"""
from wf_cli.main import main
try:
    main({args!r})
except SystemExit as stop:
    assert stop.code == {code}, stop.code
"""
    assert heavy_after(run) == ""


def test_completion_of_options_imports_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_WF_COMPLETE", "bash_complete"), ("COMP_CWORD", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_WORDS", "wf run --loss focal --loss.g")
    run = """
import contextlib, io
from wf_cli.main import main
shown = io.TextIOWrapper(io.BytesIO())
with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
    main([])
assert b"--loss.gamma" in shown.buffer.getvalue()
"""
    assert heavy_after(run) == ""


@pytest.mark.alone
@pytest.mark.parametrize("args", [["--help"], ["list"], ["list-plugins"]])
def test_listing_answers_at_once(args: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "wf_cli", *args]
    assert seconds(lambda: subprocess.run(command, check=True, capture_output=True)) < LIMIT_SEC


@pytest.mark.alone
@pytest.mark.parametrize("args", [*OF_ONE_COMPONENT, *MISTAKES])
def test_one_component_answers_at_once(args: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "wf_cli", *args]
    assert seconds(lambda: subprocess.run(command, check=False, capture_output=True)) < LIMIT_OF_ONE_COMPONENT_SEC
