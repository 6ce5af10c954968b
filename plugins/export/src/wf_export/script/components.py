"""The components of a run as expressions of its script."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from wf_building.built import Built
from wf_data.transforms.step import Step
from wf_export.script import calls
from wf_export.script.source.modules import NotAlone
from wf_export.script.source.sources import Sources


class Components:
    """Writes the components of a run.

    Args:
        experiment: The run, built anew.
        sources: Collects the source that they need.
    """

    def __init__(self, experiment: Any, sources: Sources) -> None:
        self.experiment, self.sources = experiment, sources

    def built(self, kind: str) -> Built:
        """The component of a kind.

        Raises:
            NotAlone: If the run has none, or several.
        """
        built = self.experiment.made().get(kind)
        if not isinstance(built, Built):
            raise NotAlone(f"{kind}: the run has none, or several")
        return built

    def component(
        self, kind: str, filled: Mapping[str, str], facts: Mapping[str, Any], *, lenient: bool = False
    ) -> str:
        """The expression that makes the component of a kind; the arguments are those of `written`."""
        built = self.built(kind)
        return self.written(built, f"{kind} '{built.name}'", filled, facts, lenient=lenient)

    def transform(self, step: Step) -> str:
        """The expression that makes a transform of the run file."""
        built = next(
            (one for one in several(self.experiment.made().get("transform")) if one.value is step.transform), None
        )
        if built is None:
            raise NotAlone(f"{step.name}: it is the dataset's own")
        return self.written(built, f"transform '{built.name}'", {}, {})

    def written(
        self, built: Built, title: str, filled: Mapping[str, str], facts: Mapping[str, Any], *, lenient: bool = False
    ) -> str:
        """The expression that makes a component.

        Args:
            built: The component, as it was made for the run.
            title: Its kind and name, for messages.
            filled: Expressions for the run values that are objects of the script.
            facts: What the run learned from its data.
            lenient: Whether options unknown to the plain version are left out.

        Raises:
            NotAlone: If it cannot be written.
        """
        try:
            values = {**self._values(built, filled), **facts}
            return calls.component(built, self.sources, filled, values, lenient=lenient)
        except NotAlone as error:
            raise NotAlone(calls.refusal(title, error)) from error

    def _values(self, built: Built, filled: Mapping[str, str]) -> dict[str, Any]:
        """The run values that a component gets from the run."""
        if built.entry is None:
            return {}
        run, found = self.experiment.values, {}
        for param in self.experiment.builder.params(built.entry):
            if param.source is not None and param.name not in built.options and param.name not in filled:
                value = run.need(param.source) if run.provides(param.source) else None
                try:
                    calls.literal(value)
                except NotAlone:
                    continue
                found[param.name] = value
        return found

    def link(self, link: Any, expression: str) -> str:
        """The expression for the result of a link."""
        values = self.experiment.values
        module, _, name = link.target.partition(":")
        function = getattr(importlib.import_module(module), name)
        first, *others = inspect.signature(function).parameters
        arguments = {first: expression, **{name: calls.literal(values.need(name)) for name in others}}
        found = self.sources.inline(link.target, arguments)
        return found or f"{self.sources.need(link.target)}({', '.join(arguments.values())})"

    def has_tensors(self, kind: str) -> bool:
        """Whether the component of a kind is a module with buffers."""
        value = self.built(kind).value
        return isinstance(value, nn.Module) and (any(True for _ in value.buffers()))

    def has_parameters(self, kind: str) -> bool:
        """Whether the component of a kind is a module with parameters."""
        value = self.built(kind).value
        return isinstance(value, nn.Module) and any(True for _ in value.parameters())


def several(made: Any) -> list[Built]:
    """The components of a kind that may occur several times in a run."""
    return list(made) if isinstance(made, (list, tuple)) else []


def variable(name: str) -> str:
    """The name of a variable for a component."""
    return re.sub(r"\W", "_", name)
