"""Signatures read from source equal the imported ones, for every component of wf."""

from __future__ import annotations

import importlib
import inspect
from abc import ABCMeta
from typing import Any, Generic

import pytest

from wf.discovery.entry import Entry
from wf.parameters import from_signature, parameters, type_name
from wf.registry import Registry
from wf_signatures.reading import is_exact
from wf_signatures.values import TORCH_BASES, TORCH_CLASSES

REGISTRY = Registry.discover(only_builtin=True)
ENTRIES = [
    *REGISTRY.entries(),
    *(
        REGISTRY.find(catalogue.kind, f"{catalogue.prefix}/{name}")
        for catalogue, _ in REGISTRY.catalogues()
        if not catalogue.like  # of another library's classes, which are described by importing them
        for name in (catalogue.usable()[0], catalogue.usable()[-1])
    ),
]

IMPORTED: frozenset[str] = frozenset()
"""The components whose options take importing them to know. Before you add one, see whether its signature can be
written so that it can be read (docs/plugins.md); `wf show` of a component that is here takes seconds."""


def name_of(entry: Entry) -> str:
    return f"{entry.component.kind}-{entry.component.name}"


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_reading_and_importing_agree(entry: Entry) -> None:
    found, target = entry.reading(), entry.load()
    if name_of(entry) in IMPORTED:
        assert found is None
        return
    assert found is not None, f"{name_of(entry)} cannot be read without importing it"
    read, imported = entry.params(), parameters(entry.component, entry.load)
    assert list(map(shown, read)) == list(map(shown, imported))
    for one, other in zip(read, imported, strict=True):
        assert one.type == other.type or not is_exact(one.type)
        assert is_exact(one.type) or one.source or one.kind, f"values of '{one.name}' are checked only when it is made"
    assert entry.doc() == inspect.cleandoc(target.__doc__ or "")
    assert entry.place() == f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    assert entry.source() == inspect.getsource(target)


def shown(param: Any) -> tuple[Any, ...]:
    """The visible parts of an option, and the type of its default."""
    return param.name, type_name(param.type), param.default, type(param.default), param.help, param.kind, param.source


@pytest.mark.parametrize("name", TORCH_CLASSES)
def test_torch_classes_have_the_shown_names(name: str) -> None:
    found = _imported(name)
    assert inspect.isclass(found)
    assert found.__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize("name", TORCH_BASES)
def test_torch_classes_are_constructed_by_init_alone(name: str) -> None:
    found = _imported(name)
    others = [base for base in found.__mro__ if base not in (object, Generic)]
    assert type(found) in (type, ABCMeta)
    assert not [base for base in others if {"__new__", "__init_subclass__"} & vars(base).keys()]
    assert (from_signature(found) == ()) == TORCH_BASES[name]


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
