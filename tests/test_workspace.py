"""The distributions build separately and contain their files; no tracked file names this machine."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
import zipfile
from collections import Counter
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from workspace import ADAPTER_FOLDERS, ADAPTERS, FOLDERS, PLUGINS, ROOT, import_name

from wf.discovery.distributions import is_installed

REGISTRY_HOSTS = tuple(f"{host}.org" for host in ("pypi", "pythonhosted", "download.pytorch", "anaconda"))
"""Put together here, so that this file does not hold them."""
BROUGHT = {
    "wf-cli": {"wf-compare", "wf-durability", "wf-export", "wf-finding", "wf-kit", "wf-report", "wf-run", "wf-watch"},
    "wf-transformers": {"wf-text"},
}
"""The plugins that a distribution brings with it and does not import."""
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:root|work|opt)/\w")


def metadata(wheel: Path, file: str = "METADATA") -> str:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
        return archive.read(name).decode()


def parsed(wheel: Path) -> Message:
    return Parser().parsestr(metadata(wheel))


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.parametrize("name", [*FOLDERS, *ADAPTERS])
def test_wheels_contain_their_package_and_metadata(wheels: dict[str, Path], name: str) -> None:
    package = import_name(name)
    with zipfile.ZipFile(wheels[name]) as archive:
        files = [file for file in archive.namelist() if ".dist-info/" not in file]
    headers = parsed(wheels[name])
    assert f"{package}/py.typed" in files
    assert all(file.startswith(f"{package}/") for file in files)
    sources = ROOT / {**FOLDERS, **ADAPTER_FOLDERS}[name] / "src" / package
    tracked = {path.relative_to(sources.parent).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert {file for file in tracked if "__pycache__" not in file} == set(files)
    assert (headers["Name"], headers["Version"]) == (name, "0.1.0")
    assert headers["Requires-Python"] == ">=3.11"
    assert headers["License-Expression"] == "Apache-2.0"
    assert str(headers.get_payload()).strip()


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.parametrize("name", [*PLUGINS, *ADAPTERS])
def test_plugin_wheels_declare_entry_point_and_dependencies(wheels: dict[str, Path], name: str) -> None:
    entry_points = metadata(wheels[name], "entry_points.txt")
    assert "[wf.plugins]" in entry_points
    assert f"main = {import_name(name)}.plugin" in entry_points
    assert needed_by(parsed(wheels[name]).get_all("Requires-Dist", [])) == needed_by(dependencies(name))


def dependencies(name: str) -> list[str]:
    """The dependencies in the pyproject.toml of a distribution."""
    document = tomllib.loads((ROOT / {**FOLDERS, **ADAPTER_FOLDERS}[name] / "pyproject.toml").read_text())
    declared: list[str] = document["project"]["dependencies"]
    return declared


def needed_by(requirements: list[str]) -> set[str]:
    """The distributions of the workspace among some requirements, extras included."""
    return {re.split(r"[^\w-]", one)[0] for one in requirements if one.startswith("wf-")}


@pytest.mark.parametrize("name", [*PLUGINS, *ADAPTERS])
def test_distributions_depend_on_what_they_import(name: str) -> None:
    needed = needed_by(dependencies(name))
    sources = (ROOT / {**FOLDERS, **ADAPTER_FOLDERS}[name] / "src").rglob("*.py")
    imports = {word for file in sources for word in re.findall(r"^\s*(?:from|import) (wf\w*)", file.read_text(), re.M)}
    imported = {"wf-core" if word == "wf" else word.replace("_", "-") for word in imports} - {name}
    assert imported <= needed
    assert needed - imported <= {"wf-base", *BROUGHT.get(name, ())}  # wf-base brings torch


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
def test_wf_cli_declares_the_console_script(wheels: dict[str, Path]) -> None:
    assert "[console_scripts]\nwf = wf_cli.__main__:process" in metadata(wheels["wf-cli"], "entry_points.txt")


@pytest.mark.exhaustive
@pytest.mark.xdist_group("wheels")
@pytest.mark.parametrize(("extra", "plugins"), [("builtin", PLUGINS), ("ecosystem", ADAPTERS)])
def test_the_extras_name_the_plugins(wheels: dict[str, Path], extra: str, plugins: tuple[str, ...]) -> None:
    named = re.findall(rf"^Requires-Dist: (\S+?); extra == '{extra}'", metadata(wheels["wf-core"]), re.MULTILINE)
    assert sorted(named) == sorted(plugins)


def test_requirements_name_every_distribution() -> None:
    there = [file.parent.relative_to(ROOT).as_posix() for file in ROOT.glob("plugins/*/pyproject.toml")]
    assert sorted([*FOLDERS.values(), *ADAPTER_FOLDERS.values()]) == sorted(["corelib", "cli", *there])


@pytest.mark.parametrize(("extra", "names"), [("builtin", PLUGINS), ("ecosystem", ADAPTERS)])
def test_the_extras_of_the_core_name_every_plugin(extra: str, names: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "corelib/pyproject.toml").read_text())["project"]
    assert sorted(project["optional-dependencies"][extra]) == sorted(names)


def test_import_rules_name_every_distribution() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = sorted(map(import_name, FOLDERS))
    assert sorted(rules["root_packages"]) == packages
    [layers] = [contract["layers"] for contract in rules["contracts"] if contract["id"] == "arrows"]
    assert sorted(name for layer in layers for name in layer.split(" | ")) == packages


def test_plain_pytest_skips_the_tests_of_missing_adapters() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    folders = [f"{folder}/tests" for name, folder in ADAPTER_FOLDERS.items() if not is_installed(name)]
    done = subprocess.run([*command, *folders, "plugins/run/tests"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert {line.partition("::")[0].rpartition("/")[0] for line in done.stdout.splitlines() if "::" in line} == {
        "plugins/run/tests"
    }


def tracked_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_tracked_files_name_nothing_of_this_machine() -> None:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode(errors="ignore")
        marks = [mark for mark in (*REGISTRY_HOSTS, str(ROOT), f"{Path.home()}/") if mark in text]
        marks += [match[0] for match in MACHINE_PATHS.finditer(text)]
        found += [f"{path.relative_to(ROOT)}: {mark}" for mark in marks]
    assert not found


def code_lines(file: Path) -> int:
    """The number of lines of a Python file without docstrings, comments and blank lines."""
    text = file.read_text(encoding="utf-8")
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docs - {text.count("\n") + 1})


def test_a_folder_has_about_a_dozen_modules() -> None:
    """Larger folders are divided into folders named after their job."""
    always = ("__init__.py", "__main__.py", "plugin.py")
    sources = [*ROOT.glob("*/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    modules = Counter(file.parent for file in sources if file.name not in always)
    assert len(modules) > 50
    assert not {str(folder.relative_to(ROOT)): num for folder, num in modules.items() if num > 13}


def test_the_core_is_small() -> None:
    files = (ROOT / "corelib/src").rglob("*.py")
    found = {str(file.relative_to(ROOT)): code_lines(file) for file in files}
    assert sum(found.values()) <= 4500
    assert max(found.values()) <= 400, max(found, key=lambda name: found[name])
