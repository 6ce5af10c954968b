"""Lists of components: replaced or changed, in one syntax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import wf as package
from wf.errors import UsageError
from wf_run.runfiles.lists import NOTHING, changed, keeps, laid_over


def tables(*uses: str) -> list[dict[str, Any]]:
    return [{"use": use} for use in uses]


def test_list_changes_are_merged_before_the_defaults_are_known() -> None:
    base = tables("a")
    assert laid_over(base, tables("+b", "no:a")) == tables("a", "+b", "no:a")
    assert base == tables("a")
    assert laid_over(None, tables("+b")) == tables("+b")
    assert laid_over(base, tables("c")) == tables("c")
    assert laid_over(base, []) == []
    assert laid_over([], tables("+b")) == [NOTHING, *tables("+b")]


@pytest.mark.parametrize(
    ("uses", "is_kept"), [(("+a",), True), (("a", "+b"), False), ((), False), (("no:*", "+a"), False)]
)
def test_lists_of_changes_keep_the_list_below(uses: tuple[str, ...], is_kept: bool) -> None:
    assert keeps(tables(*uses)) is is_kept


def test_additions_removals_and_options_change_a_list() -> None:
    found = changed("hook", [*tables("+c", "no:b"), {"use": "set:a", "y": 2}], [{"use": "a", "x": 1}, {"use": "b"}])
    assert found == [{"use": "a", "x": 1, "y": 2}, {"use": "c"}]
    assert changed("hook", None, tables("a")) == tables("a")
    assert changed("hook", [], tables("a")) == []
    assert changed("hook", tables("no:*", "+c"), tables("a")) == tables("c")


def test_changing_a_missing_element_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown hook of this run 'plot'\n  did you mean 'plots'") as caught:
        changed("hook", tables("no:plot"), tables("plots"))
    assert "add it" not in str(caught.value)
    with pytest.raises(UsageError, match="add it: --hook \\+early-stopping"):
        changed("hook", [{"use": "set:early-stopping", "patience": 1}], tables("plots"))


HOOKS = """\
dataset = "iris"
[[hook]]
use = "+gradient-clip"
max_norm = 2

[[hook]]
use = "set:divergence-guard"
factor = 50.0

[[hook]]
use = "no:progress"
"""


def test_list_changes_agree_in_run_file_command_line_and_python(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(HOOKS)
    one = wf("run", "run.toml", "--print-config")
    assert one.code == 0, one.stderr
    line = ("--hook", "+gradient-clip", "--hook", "no:progress", "--hook.gradient-clip.max-norm", 2)
    other = wf("run", "--dataset", "iris", *line, "--hook.divergence-guard.factor", 50.0, "--print-config")
    assert other.stdout == one.stdout
    hook = [{"use": "+gradient-clip", "max_norm": 2}, {"use": "set:divergence-guard", "factor": 50.0}, "no:progress"]
    with package.build(dataset="iris", save=False, hook=hook) as experiment:
        assert experiment.run_file() == one.stdout
    names = [table["use"] for table in experiment.plan["hook"]]
    assert "gradient-clip" in names
    assert "progress" not in names


def test_explain_names_the_line_of_a_change(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(HOOKS)
    found = wf("explain", "run.toml", "--json").json()["components"]
    hooks = {one["name"]: one for one in found if one["kind"] == "hook"}
    assert hooks["gradient-clip"]["from"] == "run.toml:3"
    options = {name: {one["name"]: one["from"] for one in hook["options"]} for name, hook in hooks.items()}
    assert options["gradient-clip"]["max_norm"] == "run.toml:4"
    assert options["divergence-guard"]["factor"] == "run.toml:8"
    assert hooks["fit-verdict"]["from"] == "default"


def test_a_second_run_file_changes_the_list_of_the_first(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('dataset = "iris"\n[[hook]]\nuse = "fit-verdict"\n')
    (tmp_path / "more.toml").write_text('[[hook]]\nuse = "+gradient-clip"\n')
    done = wf("run", "base.toml", "more.toml", "--hook", "no:fit-verdict", "--print-config")
    assert done.code == 0, done.stderr
    assert "gradient-clip" in done.stdout
    assert "fit-verdict" not in done.stdout


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        (("--transform", "standardize-targets"), True),
        (("--transform", "+standardize-targets"), False),
        (("--transform", "standardize", "--transform", "standardize-targets"), False),
        (("--transform", "no:standardize"), False),
        ((), False),
    ],
)
def test_a_list_without_the_datasets_transforms_gives_a_warning(
    wf: Any, options: tuple[str, ...], is_told: bool
) -> None:
    done = wf("run", "--dataset", "diabetes", *options, "--epochs", 1, "--dry-run")
    assert done.code == 0
    told = "the run names its transforms without standardize, which dataset diabetes asks for (--transform +NAME adds"
    assert (told in done.stderr) == is_told


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        (("--hook", "early-stopping"), True),
        (("--hook", "+early-stopping"), False),
        (("--hook", "no:progress"), False),
        ((), False),
    ],
)
def test_a_list_without_the_default_hooks_gives_a_warning(wf: Any, options: tuple[str, ...], is_told: bool) -> None:
    done = wf("run", "--dataset", "diabetes", *options, "--epochs", 1, "--dry-run")
    assert done.code == 0
    assert ("those that the run names, without the usual learning-rate-log, divergence-guard" in done.stderr) == is_told
