"""The declarations that each hook adds, and the messages for wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wf
from wf import Command, Link, Task
from wf.declarations.values import VALUES
from wf.declarations.vocabulary import forget
from wf.discovery.collecting import HOOKS
from wf.discovery.settings import Pin
from wf.errors import PluginError, UsageError
from wf.hookspecs import PROJECT
from wf.registry import Registry, read_kind
from wf_fitting.tasks import tasks_of
from wf_run.api import open_run

HEAD = """
import torch
from wf import *
class Runtime: ...
def change(tensor): ...
"""
TASK = """
@hookimpl
def wf_tasks():
    return [Task(name="rating", target=Runtime, targets=("stars",), aliases=("stars-of",))]
"""
LINK = """
@hookimpl
def wf_links():
    return [Link(name="as-stars", takes=("raw",), gives="stars", target=change, summary="scores are stars")]
"""
COMMAND = """
@hookimpl
def wf_commands():
    return [Command(name="greet", section="Greetings", summary="Say hello.", target={})]
"""


def write(folder: Path, name: str, *parts: str) -> str:
    file = folder / name
    file.write_text(HEAD + "".join(parts))
    return str(file)


def failure(folder: Path, *parts: str) -> str:
    registry = Registry.discover([write(folder, "broken.py", *parts)], only_builtin=True)
    return next(str(plugin.error) for plugin in registry.plugins if plugin.name == "broken")


def test_every_hook_has_a_test() -> None:
    assert all(name.startswith(f"{PROJECT}_") and f"test_hook_{name}" in globals() for name in HOOKS)


def test_hook_wf_components(tmp_path: Path) -> None:
    text = "@hookimpl\ndef wf_components(): return [Component('loss', 'own', change)]\n"
    registry = Registry.discover([write(tmp_path, "mine.py", text)], only_builtin=True)
    assert registry.find("loss", "own").provider == "mine"


def test_hook_wf_tasks(tmp_path: Path) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", TASK)], only_builtin=True)
    entry = registry.find("task", "stars-of")
    assert (entry.provider, entry.load().__name__) == ("mine", "Runtime")
    task = tasks_of(registry).of("stars")
    assert isinstance(task, Task)
    assert (task, task.name) == (tasks_of(registry).named("rating"), "rating")
    assert tasks_of(registry).of("planets") is None
    with pytest.raises(UsageError, match="unknown task 'ratin'\n  did you mean 'rating'"):
        tasks_of(registry).named("ratin")


KIND = """
@hookimpl
def wf_kinds():
    return [Kind(name="word-list", summary="words to count")]
@hookimpl
def wf_components():
    return [Component("word-list", "few", change)]
"""
KINDS_OF = "@hookimpl\ndef wf_kinds(): return [{}]\n"
VALUE = """
@hookimpl
def wf_values():
    return [RunValue(name="num_words", type="int", summary="words in the list", provider=change)]
"""


def test_hook_wf_kinds(tmp_path: Path) -> None:
    """A component may be of a kind that another plugin declares, whichever of them is loaded first."""
    more = "@hookimpl\ndef wf_components(): return [Component('word-list', 'many', change)]\n"
    files = [write(tmp_path, "a.py", more), write(tmp_path, "b.py", KIND)]
    registry = Registry.discover(files, only_builtin=True)
    assert [entry.component.name for entry in registry.entries("word-list")] == ["few", "many"]
    assert read_kind("word-lists") == "word-list"
    assert VALUES["word_list"].summary == "words to count"


def test_hook_wf_values(tmp_path: Path) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", VALUE)], only_builtin=True)
    assert registry.find("value", "num_words").provider == "mine"
    assert VALUES["num_words"].is_count
    without_provider = VALUE.replace(", provider=change", "").replace("num_words", "num_lines")
    registry = Registry.discover([write(tmp_path, "word.py", without_provider)], only_builtin=True)
    assert VALUES["num_lines"].is_count, "the run_values of a trainer may provide it"
    assert not registry.has("value", "num_lines")


SETTING = """
@hookimpl
def wf_settings():
    return [Param(name="patience_sec", type=float, default=1.5, help="How long to wait.")]
"""
RULE = """
def judge(part, known):
    return Verdict(part.name != "l1", ("l1 is left out",))
@hookimpl
def wf_rules():
    return [Rule(name="no-l1", kind="loss", target=judge, suggested=("loss",))]
"""
CONDITION = """
import os
@hookimpl
def wf_conditions():
    return [Condition(name="mood", summary="of the day", means="nothing", level="error", target=mood)]
def mood(seed):
    return os.environ["MOOD"] + str(seed)
"""
READER = """
from pathlib import Path
def read(path):
    return torch.tensor([[float(word) for word in line.split()] for line in path.read_text().splitlines()])
@hookimpl
def wf_readers():
    return [FileReader(name="words", endings=(".txt",), target=read)]
"""
IRIS = {"dataset": "iris", "model": "linear", "epochs": 1, "device": "cpu", "hook": []}


def test_hook_wf_settings(tmp_path: Path) -> None:
    """A setting is a key of run files and a run value."""
    registry = Registry.discover([write(tmp_path, "mine.py", SETTING)], only_builtin=True)
    seen: list[float] = []

    def hook(patience_sec: float) -> wf.Hook:
        seen.append(patience_sec)
        return wf.Hook()

    for said in ({}, {"patience_sec": 3}):
        wf.build(**{**IRIS, **said, "hook": [{"use": hook}]}, save=False, registry=registry).close()
    assert seen == [1.5, 3.0]
    unused = wf.build(**IRIS, save=False, registry=registry)
    assert "patience_sec" not in unused.plan, "it was not set and nothing used it: the run does not need the plugin"
    unused.close()
    with pytest.raises(UsageError, match="option 'patience_sec' wants float"):
        wf.build(**IRIS, patience_sec="long", registry=registry)


def test_hook_wf_rules(tmp_path: Path) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", RULE)], only_builtin=True)
    words = "loss 'l1' does not fit this run\n  l1 is left out\n  losses that fit: (?!.*l1).*mse"
    with pytest.raises(UsageError, match=words):
        wf.build(dataset="diabetes", loss="l1", registry=registry)
    broken = RULE.replace("return Verdict", "return 1 / 0 and Verdict")
    broken = Registry.discover([write(tmp_path, "broken.py", broken)], only_builtin=True)
    wf.build(dataset="diabetes", loss="l1", save=False, device="cpu", registry=broken).close()


def test_a_rule_whose_reason_is_no_tuple(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plugin = write(tmp_path, "mine.py", RULE.replace('("l1 is left out",)', '"l1 is left out"'))
    registry = Registry.discover([plugin], only_builtin=True)
    wf.build(dataset="diabetes", loss="l1", save=False, device="cpu", registry=registry).close()
    assert "rule 'no-l1' of mine is left out: 'why' of its Verdict is text, not a tuple of texts" in caplog.text


def test_hook_wf_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", CONDITION)], only_builtin=True)
    monkeypatch.setenv("MOOD", "good")
    run = {**IRIS, "steps": 4, "epochs": None, "registry": registry, "run_dir": tmp_path / "run"}
    wf.run(**run)
    again = {**run, "resume_if_there": True}
    wf.build(**{**again, "steps": 6}).fit(resume=True)
    monkeypatch.setenv("MOOD", "bad")
    with pytest.raises(UsageError, match=r"mood: was good42, is bad42\n    nothing\n.*--allow-drift mood"):
        wf.build(**{**again, "steps": 8}).fit(resume=True)
    wf.build(**{**again, "steps": 8}).fit(resume=True, allow_drift=["mood"])
    without = Registry.discover(only_builtin=True)
    wf.build(**{**again, "steps": 10, "registry": without}).fit(resume=True)
    assert "no plugin here reads these conditions, so they are not compared: mood" in caplog.text


def test_hook_wf_readers(tmp_path: Path) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", READER)], only_builtin=True)
    wf.run(**IRIS, registry=registry, run_dir=tmp_path / "run")
    (tmp_path / "new.txt").write_text("5.1 3.5 1.4 0.2\n6.2 2.9 4.3 1.3\n")
    trained = open_run(tmp_path / "run", registry=registry)
    assert trained.read(tmp_path / "new.txt").shape == (2, 4)
    (tmp_path / "new.txt").write_text("a b\n")
    with pytest.raises(ValueError, match="could not convert") as caught:
        trained.read(tmp_path / "new.txt")
    assert "reader 'words' of mine" in "".join(caught.value.__notes__)


def test_several_readers_for_one_file_extension(tmp_path: Path) -> None:
    """Two readers of the same extension are named when such a file is read; other files are unaffected."""
    mine, other = write(tmp_path, "mine.py", READER), write(tmp_path, "other.py", READER.replace('"words"', '"terms"'))
    same = write(tmp_path, "same.py", READER)
    wrong = write(tmp_path, "wrong.py", READER.replace("return torch.tensor", "return 1 or torch.tensor"))
    wf.run(**IRIS, registry=Registry.discover(only_builtin=True), run_dir=tmp_path / "run")
    (tmp_path / "new.txt").write_text("5.1 3.5 1.4 0.2\n")
    np.save(tmp_path / "new.npy", np.ones((1, 4), np.float32))
    for plugins, error, message in (
        ([mine, other], UsageError, r"several readers read files like .*'terms' of other and 'words' of mine"),
        ([mine, same], UsageError, "reader 'words' comes from 2 plugins"),
        ([wrong], PluginError, "reader 'words' of wrong gave int for "),
    ):
        trained = open_run(tmp_path / "run", registry=Registry.discover(plugins, only_builtin=True))
        with pytest.raises(error, match=message):
            trained.read(tmp_path / "new.txt")
        assert trained.read(tmp_path / "new.npy").shape == (1, 4)


def test_hook_wf_links(tmp_path: Path) -> None:
    registry = Registry.discover([write(tmp_path, "mine.py", LINK)], only_builtin=True)
    link = tasks_of(registry).link("as-stars")
    assert isinstance(link, Link)
    assert (link.gives, link.fits("predictions", "raw"), link.fits("targets", "raw")) == ("stars", True, False)


def test_hook_wf_commands(tmp_path: Path) -> None:
    """Commands are looked up like components, and one whose target does not exist affects no other."""
    loss = "@hookimpl\ndef wf_components(): return [Component('loss', 'own', change)]\n"
    files = [
        write(tmp_path, "mine.py", COMMAND.format("change")),
        write(tmp_path, "theirs.py", loss, COMMAND.format("'no_such_module:command'").replace("greet", "part")),
    ]
    registry = Registry.discover(files, only_builtin=True)
    entry = registry.find("command", "greet")
    assert (entry.provider, entry.load().__name__) == ("mine", "change")
    assert isinstance(entry.component.traits, Command)
    assert (entry.component.traits.section, entry.component.summary) == ("Greetings", "Say hello.")
    assert registry.find("loss", "own").provider == "theirs"
    with pytest.raises(PluginError, match=r"command 'part' of theirs could not be loaded\n  .*no_such_module"):
        registry.find("command", "part").load()


def test_a_command_target_is_checked_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, "zoo_of_commands.py", COMMAND.format("'zoo_of_commands:nothing'"))
    registry = Registry.discover(["zoo_of_commands"], only_builtin=True)
    with pytest.raises(
        PluginError, match=r"command 'greet' of \w+ could not be loaded\n  unknown name in zoo_of_commands 'nothing'"
    ):
        registry.find("command", "greet").load()


def test_a_loaded_plugin_is_not_loaded_again_for_a_run_file(tmp_path: Path) -> None:
    place = tmp_path / "count.txt"
    place.touch()
    text = f"""
import pathlib
@hookimpl
def wf_components():
    place = pathlib.Path({str(place)!r})
    place.write_text(place.read_text() + "x")
    return []
"""
    files = [write(tmp_path, f"{name}.py", text) for name in "ab"]
    first = Registry.discover(files[:1], only_builtin=True)
    again = Registry.discover(files[:1], only_builtin=True, of_run=files, loaded=first.plugins)
    assert {"a", "b"} <= {plugin.name for plugin in again.plugins}
    assert place.read_text() == "x", "b is left out by --only-builtin, a was asked once"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@hookimpl\ndef wf_commands(): return [Component('loss', 'a', 'm:f')]\n", "which is not a Command"),
        (COMMAND.format("'command'"), "'command' is not of the form 'module:Attr'"),
        (COMMAND.format("1"), "command 'greet': target is int, not text or something to call"),
        (COMMAND.format("'m:f'").replace("greet", "Say.hello"), "'Say.hello' is not the name of a command"),
        (COMMAND.format("'m:f'").replace("Greetings", " "), "command 'greet': its section must be one line of text"),
        (COMMAND.format("'m:f'").replace("hello.", "hello.\\n"), "command 'greet': its summary must be one line"),
        (
            COMMAND.format("'m:f', examples=(('wf greet',),)"),
            "each of its examples must be a command line and a description",
        ),
        (COMMAND.format("'m:f', order='first'"), "command 'greet': order is 'first', not int"),
        ("@hookimpl\ndef wf_tasks(): return None\n", "wf_tasks() gave NoneType, not a list of tasks"),
        ("@hookimpl\ndef wf_links(): return [1]\n", "wf_links() gave 1, which is not a Link"),
        ("@hookimpl\ndef wf_tasks(): return 1 / 0\n", "ZeroDivisionError"),
        ("@hookimpl\ndef wf_tasks(): return [Task(name='A b', target='m:f')]\n", "'A b' is not a component name"),
        ("@hookimpl\ndef wf_tasks(): return [Task(name='a', target='f')]\n", "'f' is not of the form 'module:Attr'"),
        (
            "@hookimpl\ndef wf_tasks(): return [Task(name='a', target='m:f', defaults={'optimizer': 'adam'})]\n",
            "task 'a': it has no defaults of kind 'optimizer'; kinds: model, loss, metric, hook, ",
        ),
        (
            "@hookimpl\ndef wf_tasks(): return [Task(name='a', target='m:f', defaults={'metric': 'mae'})]\n",
            "task 'a': its default metric is str, not a tuple of names",
        ),
        (TASK + TASK.replace("wf_tasks", "wf_links"), "wf_links() gave Task"),
        (
            "@hookimpl\ndef wf_components(): return [Component('task', 'a', 'm:f')]\n",
            "task 'a' is given by wf_tasks(), not wf_components()",
        ),
        (
            "@hookimpl\ndef wf_kinds(): return [Kind(name='loss')]\n",
            "it declares kind 'loss', and kind 'loss' is declared by wf-run: one of the two can be loaded",
        ),
        ("@hookimpl\ndef wf_kinds(): return [Kind(name='Loss')]\n", "'Loss' is not the name of a kind"),
        ("@hookimpl\ndef wf_kinds(): return 2 * [Kind(name='clock')]\n", "it declares kind 'clock' twice"),
        (
            "@hookimpl\ndef wf_kinds(): return [Kind(name='clock', traits='Clock')]\n",
            "kind 'clock': traits is 'Clock', not type",
        ),
        ("@hookimpl\ndef wf_kinds(registry): return []\n", "takes arguments"),
        ("@hookimpl\ndef wf_values(): return [RunValue(name='a-b')]\n", "'a-b' is not the name of a run value"),
        (
            "@hookimpl\ndef wf_components(): return [Component('clok', 'a', 'm:f')]\n",
            "component 'a' is of unknown kind 'clok'",
        ),
        ("@hookimpl\ndef wf_task(): return []\n", "unknown hook 'wf_task'; did you mean 'wf_tasks'"),
    ],
)
def test_a_wrong_declaration_is_blamed_on_its_plugin(tmp_path: Path, text: str, words: str) -> None:
    assert words in failure(tmp_path, text)


def test_two_tasks_of_one_name_need_a_pin(tmp_path: Path) -> None:
    files = [write(tmp_path, "one.py", TASK, LINK), write(tmp_path, "two.py", TASK, LINK)]
    registry = Registry.discover(files, only_builtin=True)
    words = r"task 'rating' comes from 2 plugins\n  say which one: rating@one or rating@two\n  or settle it"
    with pytest.raises(UsageError, match=words):
        tasks_of(registry).of("stars")
    with pytest.raises(UsageError, match="link 'as-stars' comes from 2 plugins"):
        _ = tasks_of(registry).links
    pins = [Pin("task", "rating", "two", "a file"), Pin("link", "as-stars", "one", "a file")]
    pinned = registry.preferring(pins)
    assert pinned.find("task", "rating").provider == "two"
    assert tasks_of(pinned).of("stars") == tasks_of(pinned).named("rating")
    assert tasks_of(pinned).link("as-stars").gives == "stars"


def test_two_tasks_for_the_same_targets(tmp_path: Path) -> None:
    """wf prefers its own task; between two third-party tasks the user has to choose."""
    theirs = (
        "@hookimpl\ndef wf_tasks(): return [Task(name='{}', target='wf_tasks.regression:Regression', targets=({},))]\n"
    )
    registry = Registry.discover([write(tmp_path, "one.py", theirs.format("own", "'real'"))], only_builtin=True)
    found = tasks_of(registry).of("real")
    assert found is not None
    assert found.name == "regression"
    files = [write(tmp_path, f"{name}.py", theirs.format(name, "'stars'")) for name in ("a", "b")]
    with pytest.raises(UsageError, match="several tasks have targets 'stars'\n  choose one: --task a or --task b"):
        tasks_of(Registry.discover(files, only_builtin=True)).of("stars")


def test_a_kind_declared_by_two_plugins(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{name}.py", KIND.replace("word-list", "word-book")) for name in ("one", "two")]
    registry = Registry.discover(files, only_builtin=True)
    states = {plugin.name: plugin for plugin in registry.plugins if plugin.name in ("one", "two")}
    assert states["one"].status == "ok"
    assert states["two"].error is not None
    assert "it declares kind 'word-book', and kind 'word-book' is declared by one" in states["two"].error
    assert "-p no:one" in states["two"].error


WORTH = """
@hookimpl
def wf_values():
    return [RunValue(name="worth", type="int", summary="of a sample", provider=worth)]
def worth():
    return {}
"""


def test_a_value_provided_by_two_plugins(tmp_path: Path) -> None:
    """A run that needs the value is refused, another one is not; a pin chooses the provider."""
    files = [write(tmp_path, f"{name}.py", WORTH.format(number)) for number, name in enumerate(("one", "two"))]
    registry = Registry.discover(files, only_builtin=True)
    seen: list[int] = []

    def hook(worth: int) -> wf.Hook:
        seen.append(worth)
        return wf.Hook()

    wf.build(**IRIS, save=False, registry=registry).close()
    settled = r"choose one or two: settle it in pyproject.toml: \[tool.wf.pin.value\] worth = "
    with pytest.raises(UsageError, match=f"value 'worth' comes from 2 plugins\n  {settled}"):
        wf.build(**{**IRIS, "hook": [{"use": hook}]}, save=False, registry=registry)
    pinned = registry.preferring([Pin("value", "worth", "two", "a file")])
    wf.build(**{**IRIS, "hook": [{"use": hook}]}, save=False, registry=pinned).close()
    assert seen == [1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loss", "it declares setting 'loss', and kind 'loss' is declared by wf-run"),
        ("epochs", "it declares setting 'epochs', and setting 'epochs' is declared by wf-run"),
        ("tokenizer", "it declares setting 'tokenizer', and kind 'tokenizer' is declared by wf-text"),
        ("model", "it declares setting 'model', and kind 'model' is declared by wf-run"),
        ("num_classes", "it declares run value 'num_classes', and run value 'num_classes' is declared by wf-run"),
        ("optimizer.lr", "setting 'optimizer.lr': the components of a kind declare its options; declare 'lr' in a "),
        ("2nd", "setting '2nd': its name is not a Python identifier"),
    ],
)
def test_a_setting_named_like_an_existing_kind_or_setting(tmp_path: Path, name: str, words: str) -> None:
    assert words in failure(tmp_path, SETTING.replace("patience_sec", name))


def test_a_component_of_a_kind_whose_plugin_is_not_loaded(tmp_path: Path) -> None:
    text = "@hookimpl\ndef wf_components(): return [Component('tokenizer', 'words', change)]\n"
    file = write(tmp_path, "mine.py", text)
    forget("wf-text")
    try:
        plugins = {plugin.name: plugin for plugin in Registry.discover(["no:wf-text", file]).plugins}
        assert plugins["mine"].error == "PluginError: kind 'tokenizer' is declared by wf-text, which is not loaded"
        assert "load wf-text, too; it is left out by -p no:wf-text" in str(plugins["mine"].fix)
    finally:
        Registry.discover(only_builtin=True)


def test_a_kind_with_the_name_of_a_setting(tmp_path: Path) -> None:
    """The second one is refused: both share the top level of run files."""
    kind = KIND.replace("word-list", "patience_sec").replace("patience_sec", "patience")
    files = [
        write(tmp_path, "one.py", SETTING.replace("patience_sec", "patience")),
        write(tmp_path, "two.py", kind),
    ]
    states = {plugin.name: plugin for plugin in Registry.discover(files, only_builtin=True).plugins}
    assert states["one"].status == "ok"
    assert "it declares kind 'patience', and setting 'patience' is declared by one" in str(states["two"].error)


@pytest.mark.parametrize(
    "wrong", ['kind="losss"', 'kind="loss", against=("dateset",)', 'kind="loss", suggested=("mse",)']
)
def test_a_rule_about_an_undeclared_kind(tmp_path: Path, wrong: str) -> None:
    text = f"@hookimpl\ndef wf_rules(): return [Rule(name='odd', target=change, {wrong})]\n"
    assert "unknown kind '" in failure(tmp_path, text)
    assert "of rule 'odd'" in failure(tmp_path, text)
