"""The core of the conformance kit: a check, its subject, and the result.

Imports no torch: components are selected, and wrong names refused, before torch is needed.
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

from wf.declarations.component import Param
from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.modules import is_path, message_of
from wf.parameters import parameters
from wf.registry import Registry

Status = Literal["passed", "failed", "skipped"]


class Defect(AssertionError):  # noqa: N818 - named after its meaning
    """A fault of a component."""


class NotChecked(Exception):  # noqa: N818 - named after its meaning
    """The reason why a check does not apply to a component."""


class NotHere(NotChecked):
    """The reason why the component cannot be built here, so that all checks that need it are skipped."""


def expect(condition: object, message: str) -> None:
    """Raise `Defect` unless `condition` holds."""
    if not condition:
        raise Defect(message)


ALL_KINDS = "*"
"""Stands for every kind of components, also for those that other plugins declare."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One requirement on components."""

    id: str
    """Stable, because skips refer to it."""
    kinds: tuple[str, ...]
    """The kinds that it is for; `ALL_KINDS` stands for all of components."""
    summary: str
    """Its meaning, in one line."""
    fix: str
    """Advice if it fails."""
    after: tuple[str, ...]
    """Prerequisite checks: it is skipped if one of them failed."""
    function: Callable[[Subject], None] = field(repr=False)
    """Raises `Defect`, `NotChecked`, or whatever the component raises."""

    def covers(self, kind: str) -> bool:
        """Whether it applies to a kind."""
        return kind in self.kinds or (ALL_KINDS in self.kinds and kind in KINDS)


def check(
    check_id: str, *kinds: str, fix: str, after: tuple[str, ...] = ("made",)
) -> Callable[[Callable[[Subject], None]], Check]:
    """Turn a function of a `Subject` into a check; the first line of its docstring is the check's summary."""

    def decorate(function: Callable[[Subject], None]) -> Check:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        return Check(id=check_id, kinds=kinds, summary=summary, fix=fix, after=after, function=function)

    return decorate


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one check on one component."""

    component: str
    """``loss/focal``."""
    check: str
    status: Status
    message: str = ""
    """The fault, or why the check was skipped."""
    fix: str = ""
    """Advice, if it failed."""
    blocks: bool = False
    """Whether dependent checks are skipped."""


class Subject:
    """One component under test.

    Args:
        entry: The component.
        registry: Where it and its nested components are looked up.
        options: The values of its options; others keep their defaults.
        run: Run-file keys that override the kit's own run around it.
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
        """The unambiguous name of the component in a run file."""
        self.given = dict(options or {})
        self.known: dict[tuple[str | None, tuple[int, ...] | None], dict[str, Any]] = {}
        """Run values of the runs that it was built for, by run; filled by `wf_kit.making.values`."""
        self._results: dict[str, Result] = {}

    def __str__(self) -> str:
        return f"{self.kind}/{self.component.name}"

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """Its options."""
        return parameters(self.component, self.entry.described)

    def param(self, name: str) -> Param | None:
        """The option with that name, if it exists."""
        return next((param for param in self.params if param.name == name), None)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The option values. Nothing is downloaded unless the author asks for it."""
        offline = {"download": False} if self.kind == "dataset" and self.param("download") else {}
        return {**offline, **self.given}

    def table(self, **options: Any) -> dict[str, Any]:
        """Its table in a run file, with some options changed."""
        return {"use": self.use, **self.options, **options}

    def missing(self) -> list[str]:
        """Required options without a value."""
        own = [param for param in self.params if param.is_required]
        return [param.name for param in own if param.name not in self.options]

    def result(self, made: Check, checks: Mapping[str, Check]) -> Result:
        """The result of a check on it; each check runs once."""
        if made.id not in self._results:
            self._results[made.id] = self._try(made, checks)
        return self._results[made.id]

    def _try(self, made: Check, checks: Mapping[str, Check]) -> Result:
        before = (self.result(checks[name], checks) for name in made.after if checks[name].covers(self.kind))
        obstacle = next((result for result in before if result.blocks), None)
        if obstacle is not None:
            what = "failed" if obstacle.status == "failed" else "was skipped"
            return self._result(made, "skipped", f"'{obstacle.check}' {what}, so this is unknown", blocks=True)
        try:
            with _repeatable(), _silent():
                made.function(self)
        except NotChecked as why:
            return self._result(made, "skipped", str(why), blocks=isinstance(why, NotHere))
        except Defect as defect:
            return self._result(made, "failed", str(defect), fix=made.fix, blocks=True)
        except (Exception, SystemExit) as error:  # anything that a component raises is a finding, not the end
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
    """Why the author skips it."""

    def __str__(self) -> str:
        return f"{self.subject}:{self.check.id}"

    def result(self) -> Result:
        """Run the check, unless it is skipped."""
        if self.skip is not None:
            return Result(component=str(self.subject), check=self.check.id, status="skipped", message=self.skip)
        return self.subject.result(self.check, self.checks)

    def run(self) -> None:
        """Run as a test of pytest or unittest: passes, fails or is skipped.

        Raises:
            AssertionError: With the fault and what to do.
            unittest.SkipTest: With the reason; pytest understands it, too.
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
    """An error in one line, with its notes."""
    text = f"{type(error).__name__}: {message_of(error)}".rstrip(": ")
    return " ".join("; ".join([text, *getattr(error, "__notes__", [])]).split())


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """Make random draws reproducible, and restore torch's generator afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the output of a component out of the report."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
