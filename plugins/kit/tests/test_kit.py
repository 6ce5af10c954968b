"""Selecting checks: names, skips, options, the run around a component, and use from pytest."""

from __future__ import annotations

import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from planted_defects import CORRECT, NUMBERS

from wf import Catalogue, Component
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.discovery.plugins import Plugin
from wf.errors import PluginError, UsageError
from wf.registry import Registry
from wf.traits import DatasetTraits, ModelTraits, TrainerTraits
from wf_kit import Case, check_plugin, conformance_cases
from wf_kit.checks import CHECKS
from wf_kit.kit import ALL_KINDS
from wf_kit.selecting import select

LOSS = "loss/planted"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def registry(*components: Component | Catalogue, **fields: Any) -> Registry:
    plain: dict[str, Any] = {"name": "planted", "distribution": "Planted_Parts", "version": "1", "status": "ok"}
    return Registry([Plugin(**{**plain, "module": "planted.py", "components": components, **fields})])


def correct(*kinds: str) -> Registry:
    return registry(*(CORRECT[kind] for kind in kinds))


def only(check: str, cases: Sequence[Case]) -> Case:
    [found] = [case for case in cases if case.check.id == check]
    return found


def loss_of(target: Any, **fields: Any) -> Registry:
    return registry(Component("loss", "planted", target, "of a test", traits=NUMBERS, **fields))


# Selection


@pytest.mark.parametrize(
    "words", [["planted"], ["planted-parts"], ["loss/planted"], ["losses/planted-too"], ["loss", "planted"]]
)
def test_select_one(words: list[str]) -> None:
    assert [entry.component.name for entry in select(correct("loss"), words)] == ["planted"]


def test_select_all_of_a_plugin() -> None:
    own = [kind for kind in KINDS if kind not in KINDS.on_demand]
    found = select(correct(*own), ["planted"])
    assert [entry.component.kind for entry in found] == own


def test_select_refuses_a_name_of_several_kinds() -> None:
    kinds = registry(*(Component(kind, "same", "a:b") for kind in ("loss", "metric")))
    with pytest.raises(UsageError, match="loss/same or metric/same"):
        select(kinds, ["same"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planed"], "did you mean 'planted'"),
        (["loss"], "is a kind"),
        (["net.py:Net"], "name the kind: KIND net.py:Net"),
        (["loss", "planted", "too"], "3 words"),
        (["los", "planted"], "did you mean 'loss'"),
        (["loss/planed"], "did you mean 'planted"),
    ],
)
def test_select_refuses(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(correct("loss"), words)


def test_select_says_why_a_plugin_is_not_there() -> None:
    broken = registry(status="failed", error="ImportError: no", fix="pip install it", promised=(("loss", "lost"),))
    for word in ("planted", "lost"):
        with pytest.raises(PluginError, match=r"ImportError: no\n  try: pip install it"):
            select(broken, [word])


def test_select_takes_the_first_of_a_catalogue_or_those_with_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted_zoo").mkdir()
    (tmp_path / "planted_zoo" / "__init__.py").touch()
    (tmp_path / "planted_zoo" / "names.txt").write_text("ape\nbee\ncat\n")
    zoo = registry(Catalogue("model", "zoo", "planted_zoo:make", "planted_zoo:names.txt"))
    assert [entry.component.name for entry in select(zoo, ["planted"])] == ["zoo/ape"]
    found = select(zoo, ["planted"], {"model/zoo/cat": {}, "model/zoo/bee": {}})
    assert [entry.component.name for entry in found] == ["zoo/bee", "zoo/cat"]


def test_cases_are_named_and_in_the_order_of_the_checks() -> None:
    names = [str(case) for case in conformance_cases("planted", registry=correct("loss"))]
    assert names == [f"{LOSS}:{name}" for name, check in CHECKS.items() if check.covers("loss")]


def test_every_check_has_a_summary_and_a_fix() -> None:
    for name, check in CHECKS.items():
        assert check.summary, name
        assert check.fix, name
        assert set(check.kinds) <= {ALL_KINDS, *KINDS, *DECLARATIONS}, name
        assert set(check.after) <= set(CHECKS), name


# Skips


@pytest.mark.parametrize("skip", ["loss-pure", f"{LOSS}:loss-pure"])
def test_skip(skip: str) -> None:
    case = only("loss-pure", conformance_cases("planted", registry=correct("loss"), skip={skip: "draws on purpose"}))
    assert (case.result().status, case.result().message) == ("skipped", "draws on purpose")
    with pytest.raises(unittest.SkipTest, match="draws on purpose"):
        case.run()


def test_skips_apply_to_the_named_component_only() -> None:
    cases = conformance_cases("planted", registry=correct("loss", "hook"), skip={f"{LOSS}:summary": "why not"})
    assert [str(case.subject) for case in cases if case.skip] == [LOSS]


@pytest.mark.parametrize(
    ("skip", "message"),
    [
        ({"loss-purr": "x"}, "unknown check 'loss-purr'\n  did you mean 'loss-pure'"),
        ({f"{LOSS}:purr": "x"}, f"in the skip of '{LOSS}:purr'"),
        ({"loss-pure": ""}, "has no reason"),
        ({"loss-pure": " "}, "has no reason"),
        ({"model-eval": "x"}, "the skip of 'model-eval' has no effect"),
        ({"loss/other:loss-pure": "x"}, "the skip of 'loss/other:loss-pure' has no effect"),
    ],
)
def test_skip_refuses(skip: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        conformance_cases("planted", registry=correct("loss"), skip=skip)


def test_arguments_override_the_settings_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.wf.check.skip]\n"{LOSS}:loss-pure" = "from the file"\n"model-eval" = "of other packages"\n'
        f'[tool.wf.check.options."{LOSS}"]\nignore_index = 1\nreduction = "sum"\n'
    )
    given: dict[str, Any] = {"skip": {f"{LOSS}:summary": "given"}, "options": {LOSS: {"reduction": "mean"}}}
    cases = conformance_cases("planted", registry=correct("loss"), **given)
    assert {case.check.id: case.skip for case in cases if case.skip} == {
        "loss-pure": "from the file",
        "summary": "given",
    }
    assert cases[0].subject.options == {"ignore_index": 1, "reduction": "mean"}


def test_settings_with_an_unknown_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.wf.check.skips]\n"summary" = "x"\n')
    with pytest.raises(UsageError, match=r"unknown table 'skips' of \[tool.wf.check\]"):
        conformance_cases("planted", registry=correct("loss"))


# Options, and the run around a component


def needs_scale(predictions: torch.Tensor, targets: torch.Tensor, scale: float) -> torch.Tensor:
    """Needs a value.

    Args:
        predictions: Of the model.
        targets: Of the dataset.
        scale: A factor.
    """
    return scale * (predictions - targets).abs().mean()


def test_required_option_is_asked_for_and_given() -> None:
    component = Component("loss", "planted", needs_scale, "of a test", traits=NUMBERS, call="function")
    results = {result.check: result for result in check_plugin("planted", registry=registry(component))}
    assert results["made"].status == "skipped"
    assert results["made"].message == "option 'scale' must be given; set a value: --loss.scale 0.5"
    assert results["loss-finite"].message == "'made' was skipped, so this is unknown"
    assert not [result for result in results.values() if result.status == "failed"]
    given = check_plugin("planted", registry=registry(component), options={LOSS: {"scale": 2}})
    assert not [result for result in given if result.status == "failed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({LOSS: {"gama": 1}}, "unknown option 'gama'"), ({"loss/plantet": {}}, "unknown component 'loss/plantet'")],
)
def test_options_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        conformance_cases("planted", registry=correct("loss"), options=options)


class OneInput(torch.nn.Linear):
    """A line.

    Args:
        input_shape: Shape of one sample: one number.
        num_outputs: Numbers to give: one.
    """

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        if (tuple(input_shape), num_outputs) != ((1,), 1):
            raise UsageError(f"one number and one output, not {list(input_shape)} and {num_outputs}")
        super().__init__(1, 1)


def line() -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty points."""
    x = torch.linspace(0, 1, 20)
    return x, 2 * x


def test_run_around_a_component_can_be_chosen() -> None:
    parts = registry(
        Component("model", "planted", OneInput, "of a test", traits=ModelTraits(inputs="vector")),
        Component("dataset", "line", line, "of a test", traits=DatasetTraits(targets="real", inputs="vector")),
    )
    by_itself = [result.check for result in check_plugin("model/planted", registry=parts) if result.status == "failed"]
    assert by_itself == ["made"]
    given = check_plugin("model/planted", registry=parts, run={"model/planted": {"dataset": "line"}})
    assert {result.check: result.message for result in given if result.status == "failed"} == {}


def test_trainer_of_another_step_protocol_needs_an_optimizer_setting() -> None:
    component = Component(
        "trainer", "planted", CORRECT["trainer"].target, "x", traits=TrainerTraits(steps=("closure",))
    )
    results = {result.check: result for result in check_plugin("planted", registry=registry(component))}
    assert results["run"].status == "skipped"
    assert 'run."trainer/planted"] optimizer = "NAME"' in results["run"].message


def no_data(path: Path, download: bool = True) -> Any:
    """Reads a file.

    Args:
        path: Of the file.
        download: Whether it is fetched.
    """
    from wf.errors import DataError

    raise DataError(f"nothing at {path}, download {download}\n  what to do about it")


def refuses_itself(steep: float = -1.0) -> Any:
    """A loss with an invalid default.

    Args:
        steep: Above 0.
    """
    raise UsageError(f"steep is {steep}; it must be above 0")


def test_defaults_that_a_component_refuses_are_a_failure() -> None:
    component = Component("loss", "planted", refuses_itself, "of a test", traits=NUMBERS, call="factory")
    results = {result.check: result for result in check_plugin("planted", registry=registry(component))}
    assert (results["made"].status, "must be above 0" in results["made"].message) == ("failed", True)


def test_dataset_without_its_data_is_skipped_with_the_reason() -> None:
    component = Component("dataset", "planted", no_data, "of a test", traits=DatasetTraits())
    without = {result.check: result for result in check_plugin("planted", registry=registry(component))}
    message = "option 'path' must locate its data; set a value: --dataset.path VALUE"
    assert (without["made"].status, without["made"].message) == ("skipped", message)
    options = {"dataset/planted": {"path": "here"}}
    given = {r.check: r for r in check_plugin("planted", registry=registry(component), options=options)}
    assert given["made"].message == "its data is missing: nothing at here, download False"
    assert given["dataset-spec"].message == "'made' was skipped, so this is unknown"
    assert {result.status for result in given.values()} == {"passed", "skipped"}


# Components that fail or raise


def raising(error: BaseException) -> Any:
    def loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Raises."""
        print("on standard output")
        raise error

    return loss


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), ZeroDivisionError()])
def test_error_of_a_component_fails_its_check(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    [*_, result] = [r for r in check_plugin("planted", registry=loss_of(raising(error))) if r.status == "failed"]
    assert type(error).__name__ in result.message
    assert result.fix
    assert capsys.readouterr().out == ""


def test_interrupt_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        check_plugin("planted", registry=loss_of(raising(KeyboardInterrupt())))


def test_case_runs_as_a_test() -> None:
    cases = conformance_cases("planted", registry=loss_of(raising(RuntimeError("boom"))))
    only("summary", cases).run()
    with pytest.raises(AssertionError, match=r"loss/planted:loss-traits: .*boom(.|\n)*declare its inputs"):
        only("loss-traits", cases).run()
    with pytest.raises(unittest.SkipTest, match="'loss-traits' failed"):
        only("loss-finite", cases).run()


def test_user_code_without_traits_is_checked_by_trial(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch.nn.functional as F\n\n\n"
        'def own(predictions, targets):\n    """Cross-entropy."""\n    return F.cross_entropy(predictions, targets)\n'
    )
    results = {result.check: result for result in check_plugin("loss/net.py:own", registry=Registry(()))}
    assert {result.status for result in results.values()} == {"passed", "skipped"}
    assert results["traits"].message == "your own code has no declaration"
    passed = {name for name, result in results.items() if result.status == "passed"}
    assert {"loss-finite", "loss-gradient", "loss-extreme", "run"} <= passed


@pytest.mark.exhaustive  # plugins/torch/tests/test_torch_conformance.py is such a test
def test_cases_run_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from planted_defects import CORRECT\n"
        "from wf.discovery.plugins import Plugin\nfrom wf.registry import Registry\n"
        "from wf_kit import conformance_cases\n\n"
        "PLUGIN = Plugin(name='p', distribution=None, version=None, module='p.py', status='ok',"
        " components=(CORRECT['scheduler'],))\n"
        "CASES = conformance_cases('p', registry=Registry([PLUGIN]), skip={'scheduler-rates': 'as I like it'})\n\n\n"
        "@pytest.mark.parametrize('case', CASES, ids=str)\ndef test_conformance(case):\n    case.run()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py"]
    path = str(Path(sys.modules["planted_defects"].__file__ or "").parent)
    done = subprocess.run(
        [*command, "-o", f"pythonpath={path}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "10 passed, 3 skipped" in done.stdout
    assert "as I like it" in done.stdout
