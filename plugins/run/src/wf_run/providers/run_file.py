"""The resolved run file, for components that record it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wf_run.run_build import RunBuild
from wf_run.runfiles.references import put_back
from wf_run.runfiles.said import without_said


def run_file(run: RunBuild) -> Mapping[str, Any]:
    """The resolved run file, which grows until all parts of the run are made."""
    return ResolvedRunFile(run.plan)


class ResolvedRunFile(Mapping[str, Any]):
    """The run file by key, as in ``run.toml``: complete once all parts of the run are built.

    References to environment variables stay references, so recording it stores no password.

    Args:
        plan: The run file, which grows while the run is built.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> dict[str, Any]:
        return without_said(put_back(self._plan))
