"""A new package is complete, clean and works for every kind; invalid names and places are refused."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from wf.declarations.component import of_declaration
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.errors import DataError, UsageError
from wf.registry import Registry
from wf_kit import scaffold
from wf_kit.scaffold import FILES, check_name, import_name, new_package, read_examples, render


def run_python(*args: str, cwd: Path, path: Sequence[Path] = ()) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"


def check_style(package: Path) -> None:
    """Ruff with its defaults, without a cache in the package."""
    for command in (["check"], ["format", "--check"]):
        run_python("-m", "ruff", *command, "--no-cache", ".", cwd=package)


def install(package: Path, into: Path) -> list[Path]:
    """Imitate an editable install of a package: its metadata in one folder, its sources in another."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    metadata = into / f"{import_name(project['name'])}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Requires-Dist: {project['dependencies'][0]}\n"
    )
    (metadata / "entry_points.txt").write_text(
        f"[wf.plugins]\nmain = {project['entry-points']['wf.plugins']['main']}\n"
    )
    return [into, package / "src"]


SHOWN = ("plot", "report-section", "exporter")
"""Kinds that no run needs, and that have a template."""
ALL = (*(kind for kind in KINDS if kind not in KINDS.on_demand or kind in SHOWN), *DECLARATIONS)
TRY = """
import shlex, sys
from wf_cli.main import main
for options in sys.argv[1:]:
    try:
        words = shlex.split(options)
        main([*words, *(["--dry-run", "--quiet"] if words[0] == "run" else [])])
    except SystemExit as stop:
        assert not stop.code, options
"""
"""Runs ``wf`` with each of its arguments, without training."""


@pytest.mark.parametrize("kind", ALL)
def test_a_package_of_one_kind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = new_package(f"lone-{kind}", [kind], tmp_path / "package")
    assert {path.relative_to(package.folder).as_posix() for path in package.folder.rglob("*") if path.is_file()} == {
        *package.files
    }
    check_style(package.folder)
    monkeypatch.syspath_prepend(package.folder / "src")
    plugin = importlib.import_module(f"{package.import_name}.plugin")
    [component] = getattr(plugin, f"wf_{kind}s" if kind in DECLARATIONS else "wf_components")()
    component = of_declaration(component) if kind in DECLARATIONS else component
    assert component.kind == kind
    module, _, attribute = component.target.partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    trait = "" if component.traits is None else type(component.traits).__name__.lower()
    own = DECLARATIONS[kind] if kind in DECLARATIONS else KINDS[kind].traits
    assert trait in ("", "" if own is None else own.__name__.lower())


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
def test_a_package_of_every_kind(tmp_path: Path) -> None:
    package = new_package("every-kind", list(ALL), tmp_path / "package").folder
    check_style(package)
    path = install(package, tmp_path / "site")
    run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package, path=path)
    run_python("-m", "mypy", "--cache-dir", str(tmp_path / "mypy"), cwd=package, path=path)
    run_python("-P", "-c", TRY, *(example.line for example in read_examples()), cwd=tmp_path, path=path)


def test_a_long_name_is_formatted_too(tmp_path: Path) -> None:
    check_style(new_package("a-name-of-forty-characters-for-the-tests", list(ALL), tmp_path / "package").folder)


def test_every_template_exists_and_is_used() -> None:
    used = {"kinds.toml", *filter(None, FILES.values())}
    for example in read_examples():
        used |= {f"{example.module}.py.tmpl", f"test_{example.module}.py.tmpl"}
    assert {file.name for file in files("wf_kit").joinpath("templates").iterdir()} == used


def test_examples_take_no_name_of_a_builtin_component() -> None:
    registry = Registry.discover(only_builtin=True)
    taken = [example.name for example in read_examples() if example.name in registry.names(example.kind)]
    assert not taken


def test_examples_are_in_the_order_of_the_kinds() -> None:
    assert [example.kind for example in read_examples()] == list(ALL)


NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@given(name=NAMES, kinds=st.sets(st.sampled_from(list(ALL)), min_size=1))
def test_the_name_replaces_every_placeholder(name: str, kinds: set[str]) -> None:
    name = scaffold.canonicalize_name(name)
    texts = render(name, [example for example in read_examples() if example.kind in kinds])
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    module = project["entry-points"]["wf.plugins"]["main"]
    assert project["name"] == name
    assert f"src/{module.replace('.', '/')}.py" in texts
    for path, text in texts.items():
        assert not re.search(r"\$[a-z]", text.replace("$ ", "")), path  # no placeholder is left
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_needs_this_minor_version_of_the_core() -> None:
    project = tomllib.loads(render("my-losses", read_examples()[:1])["pyproject.toml"])["project"]
    base, core = map(Requirement, project["dependencies"])
    assert (base.name, core.name) == ("wf-base", "wf-core")
    assert core.specifier.contains(importlib.metadata.version("wf-core"))


@pytest.mark.parametrize(
    ("version", "lowest", "too_new"), [("0.1.0", "0.1", "0.2"), ("0.9.3", "0.9", "0.10"), ("1.4.2.dev3", "1.4", "1.5")]
)
def test_range_of_the_core(version: str, lowest: str, too_new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"wf-core": version}.__getitem__)
    texts = render("my-losses", read_examples()[:1])
    project: dict[str, Any] = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["dependencies"] == [f"wf-{name}>={lowest},<{too_new}" for name in ("base", "core")]
    assert f'wf: ["wf-core=={lowest}.0", "wf-core"]' in texts[".github/workflows/tests.yml"]


def test_only_tests_need_the_plugins_that_come_with_wf() -> None:
    project = tomllib.loads(render("my-losses", read_examples())["pyproject.toml"])["project"]
    libraries = {
        "wf-base",
        "wf-charts",
        "wf-core",
        "wf-data",
        "wf-export",
        "wf-state",
    }  # wf-export has exporters' traits
    assert {Requirement(text).name for text in project["dependencies"]} == libraries
    evaluators = [example for example in read_examples() if example.kind == "evaluator"]
    project = tomllib.loads(render("my-losses", evaluators)["pyproject.toml"])["project"]
    assert [Requirement(text).name for text in project["dependencies"]] == ["wf-base", "wf-core", "wf-data"]
    assert "wf-core[builtin]" in project["optional-dependencies"]["test"]


@pytest.mark.parametrize("name", ["My_Losses", "my.losses", "MY--losses"])
def test_name_is_normalized(name: str) -> None:
    assert check_name(name) == "my-losses"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "cannot be the name"),
        ("-losses", "cannot be the name"),
        ("my losses", "cannot be the name"),
        ("../my-losses", "--output"),
        ("2-fast", "imported as '2_fast'"),
        ("lambda", "imported as 'lambda'"),
        ("wf", "known package"),
        ("wf-losses", "known package"),
        ("WF_Kit", "known package"),
        ("torch", "is already installed"),
        ("dataclasses", "already exists"),
        ("sklearn", "already exists"),
    ],
)
def test_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_name(name)


def test_an_existing_empty_folder_is_filled_in_place(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    new_package("my-losses", ["loss"], tmp_path)
    assert tmp_path.stat().st_ino == before
    assert (tmp_path / "pyproject.toml").is_file()
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


def test_new_folders_have_default_permissions(tmp_path: Path) -> None:
    folder = new_package("my-losses", ["loss"], tmp_path / "a" / "b").folder
    (tmp_path / "usual").mkdir()
    assert folder.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("taken", ["file", "folder"])
def test_existing_files_are_never_overwritten(taken: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    kept = place if taken == "file" else place / "notes.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        new_package("my-losses", ["loss"], place)
    assert kept.read_text() == "mine"
    assert list(tmp_path.rglob("*")) == ([place] if taken == "file" else [place, kept])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def disk_is_full(path: Path, *args: Any, **options: Any) -> int:
        if path.name == "pyproject.toml":
            raise OSError(28, "No space left on device")
        return write(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", disk_is_full)
    with pytest.raises(DataError, match="No space left"):
        new_package("my-losses", ["loss"], tmp_path / "my-losses")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        new_package("my-losses", ["loss"], tmp_path / "file" / "my-losses")


def test_command_line(wf: Any, tmp_path: Path) -> None:
    done = wf("new-plugin", "My-Parts", "--kind", "optimizers", "--kind", "loss", "--kind", "loss")
    assert (done.code, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "my-parts/src/my_parts").iterdir()) == [
        "__init__.py",
        "charbonnier.py",
        "plugin.py",
        "py.typed",
        "sign_sgd.py",
    ]
    for step in ("cd my-parts", "pip install -e", "wf list --search charbonnier", "wf check my-parts", "pytest"):
        assert f"\n  {step}" in done.stdout


def test_command_line_begins_with_a_loss(wf: Any, tmp_path: Path) -> None:
    assert wf("new-plugin", "my-losses", "--output", "here").code == 0
    assert (tmp_path / "here/src/my_losses/charbonnier.py").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["my-losses", "--kind", "los"], "did you mean 'loss'?"),
        (["wf-losses"], "choose another name"),
        ([], "NAME"),
    ],
)
def test_command_line_refuses(wf: Any, tmp_path: Path, words: list[str], message: str) -> None:
    done = wf("new-plugin", *words)
    assert done.code == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_imports_no_scaffold() -> None:
    code = "import sys, wf_kit.cli.new_plugin; sys.exit('wf_kit.scaffold' in sys.modules)"
    run_python("-P", "-c", code, cwd=Path.cwd())


def test_a_name_too_long_for_a_file_is_refused(wf: Any, tmp_path: Path) -> None:
    done = wf("new-plugin", "l" * 300)
    assert done.code == 4
    assert "File name too long" in done.stderr
    assert not list(tmp_path.iterdir())
