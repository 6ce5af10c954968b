"""Commands of plugins: discovery, sections of the help, import on use, and errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wf.registry import Registry
from wf_cli.commands import SECTIONS, declared, load

PLUGIN = """
from wf import Command, Component, hookimpl

def half(predictions, targets):
    return (predictions - targets).abs().mean() / 2

@hookimpl
def wf_components():
    return [Component("loss", "half", half)]

@hookimpl
def wf_commands():
    return [
        Command(name="greet", section="Zoo", summary="Say hello.", target="zoo.verbs:greet", order=2,
                examples=(("wf greet Ann", "Say hello to Ann."),)),
        Command(name="gone", section="Zoo", summary="Cannot be imported.", target="zoo.gone:gone", order=1),
        Command(name="wrong", section="Aviary", summary="Is no command.", target="zoo.verbs:wrong"),
        Command(name="survey", section="Train", summary="Among wf's own.", target="zoo.verbs:greet", order=15),
    ]
"""
VERBS = """
import sys
import click
from wf_cli.common import registry_of

print("zoo.verbs is imported", file=sys.stderr)

@click.command()
@click.argument("name")
@click.option("--code", default=0)
@click.option("--fail", is_flag=True)
@click.pass_context
def greet(ctx, name, code, fail):
    '''Say hello to NAME.'''
    if fail:
        raise RuntimeError("no voice")
    click.echo(f"hello {name}, {len(list(registry_of(ctx).entries('loss')))} losses")
    return code

wrong = 7
"""


def install(site: Path, name: str = "zoo", plugin: str = PLUGIN) -> dict[str, str | None]:
    """Write a distribution as pip would install it; returns the environment in which it is installed."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[wf.plugins]\nmain = {name}.plugin\n")
    files = {"__init__": "", "plugin": plugin, "verbs": VERBS, "gone": "import no_such_package_of_anybody\n"}
    for module, text in files.items():
        (site / name).mkdir(exist_ok=True)
        (site / name / f"{module}.py").write_text(text.replace("zoo.", f"{name}."))
    return {"PYTHONPATH": str(site)}


@pytest.fixture
def zoo(tmp_path: Path) -> dict[str, str | None]:
    return install(tmp_path / "site")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


BUILTIN = {entry.component.name: entry for entry in Registry.discover(only_builtin=True).entries("command")}


@pytest.mark.parametrize("name", BUILTIN)
def test_a_declared_command_has_the_name_and_summary_of_its_click_command(name: str) -> None:
    command = load(BUILTIN[name])
    assert command.name == name
    assert declared(BUILTIN[name]).summary == (command.help or "").partition("\n\n")[0].replace("\n", " ")
    assert declared(BUILTIN[name]).section in SECTIONS


def test_hook_wf_commands(wf_process: Any, zoo: dict[str, str | None], tmp_path: Path) -> None:
    """A third-party command: in its section, used, broken beside others, and removed with its package."""
    shown = wf_process("--help", env=zoo)
    assert (shown.code, shown.stderr) == (0, ""), "no target is imported"
    titles = re.findall(r"^(\w.*):$", shown.stdout, re.MULTILINE)
    assert titles == ["First steps", *SECTIONS, "Aviary", "Zoo", "Options of every command"]
    assert "\nZoo:\n  gone   Cannot be imported.\n  greet  Say hello.\n" in shown.stdout
    assert re.search(r"  explain .*\n( {6,}.*\n)*  survey +Among wf's own\.\n  resume ", shown.stdout)
    assert "  wf greet Ann " in shown.stdout.partition("\nTrain:")[0]

    greeted = wf_process("greet", "Ann", "--code", "4", env=zoo)
    assert (greeted.code, greeted.stderr) == (4, "zoo.verbs is imported\n")
    assert re.fullmatch(r"hello Ann, \d+ losses\n", greeted.stdout)
    assert wf_process("greet", "--help", env=zoo).stdout.startswith("Usage: wf greet [OPTIONS] NAME")
    assert wf_process("greet", env=zoo).stderr.endswith("wf: Missing argument 'NAME'\n  see: wf greet --help\n")

    broken = wf_process("gone", env=zoo)
    assert (broken.code, broken.stdout) == (3, "")
    assert broken.stderr == (
        "wf: command 'gone' of zoo could not be loaded\n"
        "  ModuleNotFoundError: No module named 'no_such_package_of_anybody' "
        "(try: install the package that provides it; wf also looked for it in the working directory)\n"
        "  other commands work without it; see: wf doctor, or disable the plugin: -p no:zoo\n"
    )
    wrong = wf_process("wrong", env=zoo)
    assert wrong.code == 3
    assert (
        "wf: command 'wrong' of zoo could not be loaded\n  zoo.verbs:wrong is int, which cannot be called\n"
        in wrong.stderr
    )
    failed = wf_process("greet", "Ann", "--fail", env=zoo)
    assert failed.code == 1
    assert failed.stderr.endswith("wf: unexpected failure in zoo: RuntimeError: no voice\n")

    assert "\n  command  greet, gone, wrong, survey\n" in wf_process("list-plugins", env=zoo).stdout
    assert wf_process("list", "losses", "--search", "half", env=zoo).code == 0

    (tmp_path / "site" / "zoo-1.0.dist-info" / "entry_points.txt").unlink()
    gone = wf_process("greet", "Ann", env=zoo)
    assert gone.code == 2
    assert gone.stderr.startswith("wf: unknown command 'greet'\n")
    assert "Zoo" not in wf_process("--help", env=zoo).stdout


def test_doctor_reports_commands_that_cannot_be_used(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "zoo.py").write_text(PLUGIN.replace("zoo.verbs", "click").replace("zoo.gone", "zoo_gone"))
    result = wf("doctor", "--json", "-p", "zoo.py", env={"CUDA_VISIBLE_DEVICES": ""})
    found = {one["subject"]: one for one in result.json() if one["check"] == "command"}
    assert (result.code, {*found} >= {"gone", "wrong"}) == (1, True)
    assert {one["level"] for one in found.values()} == {"problem"}
    assert "No module named 'zoo_gone'" in found["gone"]["message"]
    assert found["gone"]["fix"] == "fix zoo"


def test_a_plugin_given_by_p_adds_commands(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import click\nfrom wf import Command, hookimpl\n"
        "@click.command()\ndef say():\n    '''Say it.'''\n    click.echo('said')\n"
        "@hookimpl\ndef wf_commands():\n"
        "    return [Command(name='say', section='Mine', summary='Say it.', target=say)]\n"
    )
    assert "\nMine:\n  say  Say it.\n" in wf("-p", "mine.py").stdout
    for line in (("say", "-p", "mine.py"), ("-p", "mine.py", "say"), ("say@mine", "-p", "mine.py")):
        assert wf(*line).stdout == "said\n"
    assert wf("say").stderr.startswith("wf: unknown command 'say'\n")
    assert wf("mine.py:say", "-p", "mine.py").code == 2


def test_a_command_name_of_several_plugins_is_ambiguous_unless_pinned(
    wf_process: Any, tmp_path: Path, work: Path
) -> None:
    """A third-party command takes no name of wf or of another plugin unless a pin chooses it."""
    one = PLUGIN.replace('"survey"', '"resume"')
    env = install(tmp_path / "site", plugin=one)
    install(tmp_path / "site", "ark", one)
    shown = wf_process("--help", env=env, cwd=work).stdout
    assert "\n  greet@ark  Say hello." in shown
    assert "\n  greet@zoo  Say hello." in shown
    result = wf_process("greet", "Ann", env=env, cwd=work)
    assert result.code == 2
    assert result.stderr == (
        "wf: command 'greet' comes from 2 plugins\n  say which one: greet@ark or greet@zoo\n"
        '  or settle it in pyproject.toml: [tool.wf.pin.command] greet = "ark"\n'
    )
    assert wf_process("greet@zoo", "Ann", env=env, cwd=work).stdout.startswith("hello Ann")
    taken = wf_process("resume", "nothing", env=env, cwd=work)
    assert (taken.code, "command 'resume' comes from 3 plugins" in taken.stderr) == (2, True)

    (work / "pyproject.toml").write_text('[tool.wf.pin.command]\nresume = "zoo"\ngreet = "ark"\n')
    pinned = wf_process("resume", "Ann", env=env, cwd=work)
    assert pinned.stdout.startswith("hello Ann")
    assert "command 'resume' comes from zoo instead of wf: " in pinned.stderr
    assert "ark.verbs is imported" in wf_process("greet", "Ann", env=env, cwd=work).stderr
    assert wf_process("greet@nobody", "Ann", env=env, cwd=work).code in (2, 3)


@pytest.mark.parametrize(
    ("args", "more"), [(("-p", "no:zoo"), {}), (("--only-builtin",), {}), ((), {"WF_PLUGINS_ALLOW": "builtin"})]
)
def test_excluded_plugins_add_no_commands(
    wf_process: Any, zoo: dict[str, str | None], args: tuple[str, ...], more: dict[str, str]
) -> None:
    env = {**zoo, **more}
    assert "Zoo" not in wf_process("--help", *args, env=env).stdout
    result = wf_process("greet", "Ann", *args, env=env)
    if "--only-builtin" in args:
        assert (result.code, result.stderr.partition("\n")[0]) == (2, "wf: unknown command 'greet'")
    else:
        assert result.code == 3
        assert "command 'greet' is brought by zoo, which is not loaded (blocked)" in result.stderr


def test_commands_of_wf_cli_work_when_plugins_are_excluded(wf: Any, tmp_path: Path) -> None:
    """They show why other commands are missing."""
    off: dict[str, str | None] = {"WF_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for env in (off, {"WF_PLUGINS_ALLOW": "nobodys"}):
        for line in (("list-plugins",), ("list",), ("--help",)):
            assert wf(*line, env=env).code == 0
    assert wf("list-plugins", "-p", "no:wf-cli").code == 0

    (tmp_path / "pyproject.toml").write_text("[tool.wf]\nalow = []\n")
    shown = wf("--help")
    assert shown.code == 0
    assert "  list-plugins " in shown.stdout
    assert "wf: warning: the commands of plugins are not shown\n  unknown setting 'alow'" in shown.stderr
    assert wf("doctor").code == 1
    assert wf("no-such-verb").stderr.startswith("wf: unknown setting 'alow'")
    assert wf("list").stderr.startswith("wf: unknown setting 'alow'")


def test_help_says_which_plugins_are_not_loaded(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_package_of_anybody\n")
    result = wf("--help", "-p", "broken.py")
    assert (result.code, "  list " in result.stdout) == (0, True)
    assert result.stderr == ("wf: warning: not loaded, so their commands are missing: broken; see wf list-plugins\n")
    assert "it may be in a plugin that is not loaded: broken (failed)" in wf("greet", "-p", "broken.py").stderr


@pytest.mark.parametrize(
    ("word", "near"), [("lsit", "list"), ("list_plugin", "list-plugins"), ("Doctr", "doctor"), ("show:x", "")]
)
def test_an_unknown_command_gets_a_suggestion(wf: Any, word: str, near: str) -> None:
    result = wf(word)
    assert (result.code, result.stdout) == (2, "")
    hint = f"  did you mean: wf {near}?\n" if near else ""
    assert result.stderr.startswith(f"wf: unknown command '{word}'\n{hint}")
    assert "\n  available: " in result.stderr


def test_shell_completion_offers_contributed_commands(wf_process: Any, zoo: dict[str, str | None]) -> None:
    def complete(line: str) -> list[str]:
        words = {"_WF_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        result = wf_process(env={**zoo, **words})
        assert result.code == 0
        assert "imported" not in result.stderr or "greet" in line
        return [item.partition(",")[2] for item in result.stdout.splitlines() if item]

    assert complete("wf g") == ["generate", "gone", "greet"]
    assert complete("wf greet Ann --co") == ["--code"]
    assert complete("wf gone --x") == []
    assert complete("wf greet@zoo Ann --fa") == ["--fail"]


IMPORTED = """
import sys
from wf.registry import Registry
from wf_cli.main import main
targets = [entry.component.target.partition(":")[0] for entry in Registry.discover().entries("command")]
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
found = [target for target in targets if target in sys.modules]
assert not found, found
"""


def test_help_imports_no_command() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", IMPORTED, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_is_not_a_click_command_is_refused(tmp_path: Path) -> None:
    """Any other callable is refused when the command is used."""
    (tmp_path / "mine.py").write_text(
        "from wf import Command, hookimpl\n"
        "@hookimpl\ndef wf_commands(): return [Command(name='a', section='S', summary='T', target=lambda: None)]\n"
    )
    entry = Registry.discover([str(tmp_path / "mine.py")], only_builtin=True).find("command", "a")
    with pytest.raises(Exception, match="command 'a' of mine is function, not a click command"):
        load(entry)
