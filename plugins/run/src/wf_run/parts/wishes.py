"""Requirements of a model on its data, such as image size and normalization: see `wf.traits.ModelTraits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wf.discovery.modules import import_module
from wf.registry import Registry
from wf.traits import ModelTraits, TransformTraits

TRANSFORMS = "transforms"
"""The key of the transforms among a model's requirements."""


def wants_of(table: Any, registry: Registry) -> dict[str, Any]:
    """The requirements of a run file's model; empty without any, or if the model comes from no plugin.

    Args:
        table: The model's table.
        registry: Where names are looked up.
    """
    use = table.get("use") if isinstance(table, Mapping) else table
    if not isinstance(use, str) or ":" in use or not registry.has("model", use.partition("@")[0]):
        return {}
    component = registry.find("model", use).component
    if not isinstance(component.traits, ModelTraits) or component.traits.wants is None:
        return {}
    module, _, attribute = component.traits.wants.partition(":")
    options = {name: value for name, value in table.items() if name != "use"} if isinstance(table, Mapping) else {}
    return dict(getattr(import_module(module), attribute)(*component.args, **options))


def with_wanted(tables: Sequence[Any], model: Any, registry: Registry) -> list[Any]:
    """The default transforms of a run, including those that the model requires.

    The model's come last, because they produce its expected inputs, but before transforms that mix samples.
    """
    wanted = [table for table in wants_of(model, registry).get(TRANSFORMS, ()) if table not in tables]
    mixing = [table for table in tables if wanted and _mixes(table, registry)]
    return [*(table for table in tables if table not in mixing), *wanted, *mixing]


def _mixes(table: Any, registry: Registry) -> bool:
    use = table["use"] if isinstance(table, Mapping) else table
    if not isinstance(use, str) or ":" in use:
        return False
    traits = registry.find("transform", use).component.traits
    return isinstance(traits, TransformTraits) and traits.joint == "batch"
