"""The examples of README.md and docs/ work, and everything public is documented."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import click
import pytest
from docs_examples import PAGES, Reader, agree, read_fences, shorten
from workspace import ADAPTERS, FOLDERS

import wf
from wf import errors
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.declarations.values import VALUES
from wf.discovery.collecting import HOOKS
from wf.discovery.known import who_brings
from wf.engine.events import EVENTS
from wf.registry import Registry
from wf_cli.main import cli, main
from wf_fitting.tasks import tasks_of
from wf_run.time_limit import EXIT_CODE as TIME_IS_OVER

ROOT = Path(__file__).parents[1]
COMMANDS = {
    entry.component.name: entry.plugin.distribution if entry.plugin else None
    for entry in Registry.discover(only_builtin=True).entries("command")
}
"""The installed commands, each with its distribution."""
VERBS = [name for name, distribution in COMMANDS.items() if distribution in FOLDERS]
"""Those of docs/command-line.md; the commands of the ecosystem have a page each."""
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
READMES = [f"{folder}/README.md" for folder in FOLDERS.values()]
PLACE = re.compile(r"`([\w/]+\.py):([\w.]+)`")


SAMPLE = ("docs/hooks.md",)
"""A page that takes seconds; the others train more, the README the most."""


@pytest.mark.parametrize(
    "page", [page if page in SAMPLE else pytest.param(page, marks=pytest.mark.exhaustive) for page in PAGES]
)
def test_examples_of_a_page_give_the_shown_output(
    page: str, tmp_path: Path, fork_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    outcomes = list(Reader(page, tmp_path, fork_server).read())
    wrong = [f"{page}, {outcome.explain()}" for outcome in outcomes if outcome.wrong or not outcome.agrees]
    if wrong:
        pytest.fail(
            "\n\n".join([*wrong, "to accept the new output: python tests/docs_examples.py --update"]), pytrace=False
        )


@pytest.mark.parametrize("readme", READMES)
def test_examples_of_a_distributions_readme_run(readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for fence in read_fences((ROOT / readme).read_text(encoding="utf-8")):
        if fence.language == "python":
            exec(compile("\n".join(fence.lines), readme, "exec"), namespace)


def test_tables_are_up_to_date() -> None:
    generate = load_generate()
    old = [page for page, text in TEXTS.items() if generate.renew(text) != text]
    assert not old, "run: python docs/generate.py"


def test_index_of_members_is_up_to_date() -> None:
    generate = load_generate()
    assert generate.members() == generate.MEMBERS.read_text(encoding="utf-8"), "run: python docs/generate.py"
    for catalogue, distribution in generate._catalogues():
        assert [known.distribution for known in who_brings(catalogue.kind, f"{catalogue.prefix}/x")] == [distribution]


def load_generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(verb: str) -> click.Command:
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    return found


def options(verb: str) -> Iterator[str]:
    found = command(verb)
    for param in found.get_params(click.Context(found)):
        if isinstance(param, click.Option):
            yield from (*param.opts, *param.secondary_opts)


def exit_codes() -> set[int]:
    found = {
        error.exit_code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "exit_code")
    }
    return {0, 1, *found, TIME_IS_OVER, 129, 130, 138, 141, 143}


def components() -> Iterator[str]:
    registry = Registry.discover(only_builtin=True)
    yield from (entry.component.name for entry in registry.entries())
    yield from (f"{catalogue.prefix}/..." for catalogue, _ in registry.catalogues())


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/hooks.md", EVENTS),
        ("docs/run-file.md", GENERAL),
        (
            "docs/run-file.md",
            [link.name for link in tasks_of(Registry.discover(only_builtin=True)).links if link.target],
        ),
        ("docs/plugins.md", VALUES),
        ("docs/plugins.md", KINDS),
        ("docs/plugins.md", HOOKS),
        ("docs/components.md", components()),
        ("docs/command-line.md", [option for verb in VERBS for option in options(verb)]),
        ("docs/python.md", [f"wf.{name}" for name in ("run", "build", "create", "load_model", "open_run", "Loop")]),
    ],
)
def test_everything_is_documented(page: str, names: Sequence[str]) -> None:
    text = TEXTS[page]
    words = set(re.findall(r"(?<![\w./-])(?:--)?[\w./-]+", text))
    assert not [name for name in names if name not in words]


@pytest.mark.parametrize("verb", COMMANDS)
def test_verb_is_documented(verb: str) -> None:
    if verb in VERBS:
        assert f"\n## wf {verb}\n" in TEXTS["docs/command-line.md"]
    else:
        assert COMMANDS[verb] in ADAPTERS
        assert f"`wf {verb}" in TEXTS[f"docs/{verb}.md"]


def test_exit_codes_are_documented() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", TEXTS["docs/command-line.md"], re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == exit_codes()


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a page get."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *READMES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_have_targets(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if link.startswith("https:"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    named = re.findall(r"`((?:docs|examples|tests|corelib|cli|plugins)/[\w./-]+)`", TEXTS[page])
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_page_is_linked_from_the_readme() -> None:
    assert not [page for page in PAGES[1:] if f"({page})" not in TEXTS["README.md"]]
    assert len(TEXTS["README.md"].splitlines()) <= 200


def test_known_limits_name_the_current_strategies_and_torch() -> None:
    limits = TEXTS["README.md"].split("## Known limits")[1]
    strategies = set(Registry.discover(only_builtin=True).names("strategy")) - {"local"}
    shared = next(line for line in limits.splitlines() if "Several processes" in line)
    assert set(re.findall(r"\(`(\w+)`\)", shared)) == strategies
    torch = re.search(r"^torch==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch
    assert f"torch {torch[1]}, on a CPU" in limits


def test_readme_shows_what_make_demo_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    runs = re.findall(r"^\t@\$\(BIN\)/(wf [^|\n]*?) *(?:\|\|.*)?$", makefile, re.MULTILINE)
    fence = next(fence for fence in read_fences(TEXTS["README.md"]) if "$ make demo" in fence.lines)
    assert [line[2:] for line in fence.lines if line.startswith("$ ")] == ["make demo", *runs]


# The walks through the code in docs/architecture.md


def ways() -> dict[str, list[tuple[str, str]]]:
    """For each heading the first place of each numbered line below it: file and function."""
    found: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    for line in TEXTS["docs/architecture.md"].splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif re.match(r"\d+\. ", line) and (place := PLACE.search(line)):
            found.setdefault(heading, []).append((place[1], place[2]))
    return found


def functions(file: Path) -> set[str]:
    """The qualified names of the functions and classes of a file."""

    def walk(node: ast.AST, prefix: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                yield prefix + child.name
                yield from walk(child, f"{prefix}{child.name}.")

    return set(walk(ast.parse(file.read_text(encoding="utf-8")), ""))


@pytest.mark.parametrize(("file", "name"), sorted(set(PLACE.findall(TEXTS["docs/architecture.md"]))))
def test_places_in_the_architecture_page_exist(file: str, name: str) -> None:
    folders = ("corelib", "cli", "plugins/*")
    sources = [path for folder in folders for path in ROOT.glob(f"{folder}/src/{file}")]
    assert len(sources) == 1
    assert name in functions(sources[0])


Stop = tuple[str, str]
"""The file and the function of a stop."""


@contextmanager
def traced(events: list[tuple[str, Stop, dict[str, Any]]], stops: Collection[Stop]) -> Iterator[None]:
    """Record the calls and returns of some stops, with their arguments."""

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "return"):
            file, name = frame.f_code.co_filename, frame.f_code.co_qualname
            for stop in stops:
                if stop[1] == name and file.endswith(f"/src/{stop[0]}"):
                    events.append((event, stop, dict(frame.f_locals) if event == "call" else {}))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def in_order(stops: Iterable[Stop], events: Iterable[tuple[str, Stop, dict[str, Any]]], event: str) -> None:
    """Check that the stops are called in order."""
    following = iter([stop for one, stop, _ in events if one == event])
    assert not [stop for stop in stops if stop not in following]


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_no_walk_through_the_code_returns_to_a_file() -> None:
    found = ways()
    assert {len(stops) >= 4 for stops in found.values()} == {True}
    assert len(found) == 5
    for stops in found.values():
        files = [file for file, _ in itertools.groupby(file for file, _ in stops)]
        assert len(files) == len(set(files)), files


@pytest.mark.usefixtures("in_a_folder")
def test_walks_of_option_data_and_batch_are_followed_once() -> None:
    """The stops of an option, the data and a batch are called in the order of the page."""
    option, data, batch = (ways()[f"The way of {what}"] for what in ("an option", "the data", "a batch"))
    events: list[tuple[str, Stop, dict[str, Any]]] = []
    with traced(events, {*option, *data, *batch}), pytest.raises(SystemExit) as stop:
        main(["run", "--loss", "focal", "--loss.gamma", "2", "--dry-run", "--quiet"])
    assert stop.value.code == 0
    for way in (option, data, batch):
        in_order(way, events, "call")
    about = {
        "convert": lambda found: found["param"].name == "gamma",
        "Builder.build": lambda found: found["kind"] == "loss",
    }
    visits = Counter(
        stop for event, stop, found in events if event == "call" and about.get(stop[1], lambda found: True)(found)
    )
    for stop_of_way in (*option[:-1], *data):  # the last stop is called for each batch
        assert visits[stop_of_way] == 1, stop_of_way


HELLO = """\
import click
import wf
from wf_cli.common import registry_of


@wf.hookimpl
def wf_commands():
    return [wf.Command(name="greet", section="Train", summary="Greet.", target="hello:greet")]


@click.command()
@click.pass_context
def greet(ctx):
    registry_of(ctx)
"""


@pytest.mark.usefixtures("in_a_folder")
def test_the_walk_of_a_command_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hello.py").write_text(HELLO)
    monkeypatch.syspath_prepend(tmp_path)
    way, events = ways()["The way of a command"], list[tuple[str, Stop, dict[str, Any]]]()
    with traced(events, way), pytest.raises(SystemExit) as stop:
        main(["greet", "-p", "hello"])
    assert stop.value.code == 0
    in_order(way, events, "call")


@pytest.mark.usefixtures("in_a_folder")
def test_the_walk_of_an_error_is_followed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def raising(self: Any, *args: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr("wf_losses.focal.FocalLoss._factor", raising)
    way, events = ways()["The way of an error"], list[tuple[str, Stop, dict[str, Any]]]()
    with traced(events, way), pytest.raises(SystemExit) as stop:
        main(["run", "--loss", "focal", "--epochs", "1", "--quiet"])
    assert stop.value.code == 1
    assert "wf: unexpected failure in" in capsys.readouterr().err
    deciding, explaining = way[-2:]
    in_order([*way[:-2], explaining, deciding], events, "return")  # the last stop is called by the one before
    assert [event for event, stop, _ in events if stop == explaining] == ["call", "return"]


# Reading pages


def test_lines_of_dots_match_any_lines() -> None:
    assert agree(["a", "...", "z"], ["a", "b", "c", "z"], about=False)
    assert agree(["a", "...", "z"], ["a", "z"], about=False)
    assert not agree(["a", "...", "z"], ["a", "b"], about=False)
    assert not agree(["a"], ["a", "b"], about=False)
    assert agree(["..."], ["a", "b"], about=False)


@pytest.mark.parametrize(
    ("shown", "actual", "about", "same"),
    [
        ("loss 0.1234", "loss 0.1235", False, True),
        ("loss 0.1234", "loss 0.1284", False, False),
        ("loss 0.1234", "loss 0.1284", True, True),
        ("loss 0.12", "accuracy 0.12", True, False),
        ("epoch 3/10", "epoch 4/10", True, False),
        ("took  37 ms", "took 1.5 s", False, True),
        ("3 passed in 4.21s", "3 passed in 143.66s (0:02:23)", False, True),
        ("runs/20261121-095656-iris-ce-adam", "runs/20270101-000000-iris-ce-adam", False, True),
        ("place  .../focal.py:23", "place  .../focal.py:24", False, True),
    ],
)
def test_outputs_agree_up_to_rounding_and_times(shown: str, actual: str, about: bool, same: bool) -> None:
    assert agree([shown], [actual], about=about) == same


def test_updated_outputs_keep_their_ellipses() -> None:
    shown = ["head 1", "...", "row 9", "end"]
    assert shorten(shown, ["head 2", "row 1", "row 2", "row 10", "new", "end"]) == [
        "head 2",
        "...",
        "row 10",
        "new",
        "end",
    ]
    assert shorten(["a", "..."], ["b", "c", "d"]) == ["b", "..."]
    assert shorten(["old"], ["new", "newer"]) == ["new", "newer"]


def test_documented_public_names_are_exported() -> None:
    assert {"run", "build", "create", "load_model", "Loop", "Hook"} <= set(wf.__all__)
