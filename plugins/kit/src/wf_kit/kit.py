"""The core of the conformance kit: a check, a component it is made on, and what came out.

Imports no torch: what is to be checked is found, and a wrong name refused, before torch is needed.
"""

from __future__ import annotations

import contextlib
import io
import unittest
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from wf.declarations.component import REQUIRED, Param
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.modules import is_path, message_of
from wf.parameters import parameters
from wf.registry import Registry

Status = Literal["passed", "failed", "skipped"]


class Defect(AssertionError):  # noqa: N818 - named for what it is
    """What is wrong with a component."""


class NotChecked(Exception):  # noqa: N818 - named for what it is
    """Why a check cannot be made on a component."""


class NotHere(NotChecked):
    """Why the component cannot be made here, so that nothing that needs it can be checked."""


def expect(condition: object, message: str) -> None:
    """Say what is wrong unless `condition` holds."""
    if not condition:
        raise Defect(message)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a component must keep to."""

    id: str
    """Stable: skips are written with it."""
    kinds: tuple[str, ...]
    summary: str
    """What it means, in one line."""
    fix: str
    """What to do when it fails."""
    after: tuple[str, ...]
    """The checks without which it says nothing: it is skipped where one of them failed."""
    function: Callable[[Subject], None] = field(repr=False)
    """Raises `Defect`, `NotChecked`, or whatever the component raises."""

    def covers(self, kind: str) -> bool:
        """Whether components of a kind must keep to it; a check for all of wf's kinds is one for contributed ones."""
        contributed = set(KINDS.contributed)
        return kind in self.kinds or (kind in contributed and set(KINDS) - contributed <= set(self.kinds))


def check(
    check_id: str, *kinds: str, fix: str, after: tuple[str, ...] = ("made",)
) -> Callable[[Callable[[Subject], None]], Check]:
    """Make a function of a `Subject` a check; the first line of its docstring is the check's summary."""

    def decorate(function: Callable[[Subject], None]) -> Check:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        return Check(id=check_id, kinds=kinds, summary=summary, fix=fix, after=after, function=function)

    return decorate


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of one check on one component."""

    component: str
    """``loss/focal``."""
    check: str
    status: Status
    message: str = ""
    """What is wrong, or why it was skipped."""
    fix: str = ""
    """What to do about it, where it failed."""
    blocks: bool = False
    """Whether the checks that come after it cannot be made."""


class Subject:
    """One component that is checked.

    Args:
        entry: The component.
        registry: Where it, and what is nested in it, is looked up.
        options: The values of its options that are tried; the others keep their defaults.
        run: Keys of a run file that are laid over the kit's own run around it.
    """

    def __init__(
        self,
        entry: Entry,
        registry: Registry,
        options: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        self.entry, self.registry = entry, registry
        self.component, self.kind, self.traits = entry.component, entry.component.kind, entry.component.traits
        self.run = dict(run or {})
        self.use = _use(entry)
        """What a run file says to name it, whatever else has that name and wherever the run is."""
        self.given = dict(options or {})
        self.known: dict[str, dict[str, Any]] = {}
        """What the runs knew for which it was made, by the run; `wf_kit.making.values` fills it."""
        self._results: dict[str, Result] = {}

    def __str__(self) -> str:
        return f"{self.kind}/{self.component.name}"

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """Its options."""
        return parameters(self.component, self.entry.described)

    def param(self, name: str) -> Param | None:
        """The option of that name, if it has one."""
        return next((param for param in self.params if param.name == name), None)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The values that are tried. Nothing is downloaded unless the author asks for it."""
        offline = {"download": False} if self.kind == "dataset" and self.param("download") else {}
        return {**offline, **self.given}

    def table(self, **options: Any) -> dict[str, Any]:
        """Its table in a run file, some options changed."""
        return {"use": self.use, **self.options, **options}

    def missing(self) -> list[str]:
        """The options that need a value and have none."""
        own = [param for param in self.params if param.source is None and param.default is REQUIRED]
        return [param.name for param in own if param.name not in self.options]

    def result(self, made: Check, checks: Mapping[str, Check]) -> Result:
        """What comes out of a check on it; each one is made once."""
        if made.id not in self._results:
            self._results[made.id] = self._try(made, checks)
        return self._results[made.id]

    def _try(self, made: Check, checks: Mapping[str, Check]) -> Result:
        before = (self.result(checks[name], checks) for name in made.after if checks[name].covers(self.kind))
        obstacle = next((result for result in before if result.blocks), None)
        if obstacle is not None:
            what = "failed" if obstacle.status == "failed" else "was skipped"
            return self._result(made, "skipped", f"'{obstacle.check}' {what}, so this cannot be told", blocks=True)
        try:
            with _repeatable(), _silent():
                made.function(self)
        except NotChecked as why:
            return self._result(made, "skipped", str(why), blocks=isinstance(why, NotHere))
        except Defect as defect:
            return self._result(made, "failed", str(defect), fix=made.fix, blocks=True)
        except (Exception, SystemExit) as error:  # whatever a component raises is found out, and ends nothing
            return self._result(made, "failed", told(error), fix=made.fix, blocks=True)
        return self._result(made, "passed")

    def _result(self, made: Check, status: Status, message: str = "", **fields: Any) -> Result:
        return Result(component=str(self), check=made.id, status=status, message=message, **fields)


@dataclass(frozen=True)
class Case:
    """One check on one component."""

    check: Check
    subject: Subject
    checks: Mapping[str, Check] = field(repr=False)
    skip: str | None = None
    """Why the author does not want it made."""

    def __str__(self) -> str:
        return f"{self.subject}:{self.check.id}"

    def result(self) -> Result:
        """Make the check, unless it is skipped."""
        if self.skip is not None:
            return Result(component=str(self.subject), check=self.check.id, status="skipped", message=self.skip)
        return self.subject.result(self.check, self.checks)

    def run(self) -> None:
        """As a test of pytest or unittest: passes, fails or is skipped.

        Raises:
            AssertionError: Saying what is wrong and what to do.
            unittest.SkipTest: Saying why; pytest takes it for its own.
        """
        result = self.result()
        if result.status == "skipped":
            raise unittest.SkipTest(result.message)
        if result.status == "failed":
            raise AssertionError(f"{self}: {result.message}\n  {result.fix}")


def _use(entry: Entry) -> str:
    if entry.plugin is not None:
        return f"{entry.component.name}@{entry.plugin.name}"
    path, _, attribute = entry.component.target_name.rpartition(":")
    return f"{Path(path).expanduser().resolve()}:{attribute}" if is_path(path) else entry.component.target_name


def told(error: BaseException) -> str:
    """An error in one line, with what was noted on it."""
    text = f"{type(error).__name__}: {message_of(error)}".rstrip(": ")
    return " ".join("; ".join([text, *getattr(error, "__notes__", [])]).split())


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Let what is drawn be the same every time, and torch's generator be as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what a component prints from what is reported."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
