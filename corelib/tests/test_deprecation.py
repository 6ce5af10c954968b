"""Old names keep working, with one warning that names the new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from wf import Component
from wf.discovery import deprecation
from wf.discovery.plugins import Plugin
from wf.errors import UsageError
from wf.registry import Registry
from wf_building.builder import Builder
from wf_run.runfiles.runfile import merge


class Loss:
    """A loss.

    Args:
        gamma: A number.
        alpha: Another one.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 1.0) -> None:
        self.gamma, self.alpha = gamma, alpha


COMPONENT = Component(
    "loss", "focal", Loss, aliases=("f",), deprecated_names=("focal-v1",), deprecated_params={"gama": "gamma"}
)
REGISTRY = Registry(
    [Plugin(name="ours", distribution="ours", version="1", module="m", status="ok", components=(COMPONENT,))]
)


@pytest.fixture(autouse=True)
def _no_warnings_yet() -> Iterator[None]:
    deprecation._said.clear()
    yield
    deprecation._said.clear()


def test_an_old_name(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert REGISTRY.find("loss", "focal-v1").component is COMPONENT
    assert caplog.messages == ["loss 'focal-v1' is called 'focal' now; the old name will go"]
    assert REGISTRY.find("loss", "focal-v1@ours").component is COMPONENT


def test_new_names_and_aliases_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    REGISTRY.find("loss", "focal")
    REGISTRY.find("loss", "f")
    Builder(REGISTRY).build("loss", {"use": "focal", "gamma": 1})
    assert caplog.messages == []


def test_an_old_option(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        built = Builder(REGISTRY).build("loss", {"use": "focal", "gama": "3"})
        assert built.value.gamma == 3.0
        assert built.table() == {"use": "focal", "gamma": 3.0, "alpha": 1.0}
    assert caplog.messages == ["option 'gama' of loss 'focal' is called 'gamma' now; the old name will go"]


@pytest.mark.parametrize(("file", "line"), [("gama", "gamma"), ("gamma", "gama")])
def test_old_and_new_option_name_together_keep_the_command_lines_value(
    caplog: pytest.LogCaptureFixture, file: str, line: str
) -> None:
    merged, _ = merge({"loss": {"use": "focal", file: 3}}, {"loss": {line: 5}})
    assert Builder(REGISTRY).build("loss", merged["loss"]).value.gamma == 5.0
    assert caplog.messages == [
        "option 'gama' of loss 'focal' is called 'gamma' now; the old name will go; "
        f"both are given, and '{line}' counts"
    ]


def test_an_old_name_is_not_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        REGISTRY.find("loss", "focal-v2")
    assert "did you mean 'focal'?" in str(caught.value)
    assert "focal-v1" not in str(caught.value)
    only_old = Component("loss", "newloss", Loss, deprecated_names=("antique",))
    registry = Registry([dataclasses.replace(REGISTRY.plugins[0], components=(only_old,))])
    with pytest.raises(UsageError, match="unknown loss 'antiqe'\n  did you mean 'newloss'"):
        registry.find("loss", "antiqe")
