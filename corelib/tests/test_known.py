"""The index of known plugins agrees with the installed ones."""

from __future__ import annotations

import pytest

from wf.declarations.component import Catalogue
from wf.declarations.declared import DECLARATIONS
from wf.declarations.kinds import KINDS
from wf.discovery.known import KnownPlugin, index, known_members, who_brings
from wf.registry import Registry

HERE = {plugin.distribution: plugin for plugin in Registry.discover(only_builtin=True).plugins}
EVERY_KIND = {*KINDS, *DECLARATIONS, "searcher", "pruner"}
"""Those of every run, those that plugins which come with wf add, and those of wf-tune in the ecosystem."""


def test_every_distribution_of_wf_is_indexed() -> None:
    assert set(HERE) <= {known.distribution for known in index()}


@pytest.mark.parametrize("known", index(), ids=lambda known: known.distribution)
def test_an_entry_agrees_with_the_installed_plugin(known: KnownPlugin) -> None:
    assert set(known.names) <= EVERY_KIND
    if known.distribution in HERE:
        assert set(known.kinds) == {kind.name for kind in KINDS.of(known.distribution)}
    assert known.summary
    assert known.install.startswith("pip install ")
    if known.distribution in HERE:
        brought = {
            (part.kind, name)
            for part in HERE[known.distribution].components
            for name in ((f"{part.prefix}/*",) if isinstance(part, Catalogue) else (part.name, *part.aliases))
        }
        assert {(kind, name) for kind, names in known.names.items() for name in names} == brought


@pytest.mark.parametrize(
    ("kind", "name", "distribution"),
    [
        ("loss", "Focal_Loss", "wf-losses"),
        ("model", "torchvision/resnet18", "wf-torchvision"),
        ("loss", "log-cosh", "wf-example"),
    ],
)
def test_who_brings(kind: str, name: str, distribution: str) -> None:
    assert [known.distribution for known in who_brings(kind, name)] == [distribution]


@pytest.mark.parametrize(("kind", "name"), [("model", "focal"), ("model", "torchvision"), ("loss", "nothing")])
def test_who_brings_finds_no_provider(kind: str, name: str) -> None:
    assert who_brings(kind, name) == []


@pytest.mark.parametrize(
    ("kind", "name", "members"),
    [
        ("optimizer", "lion", ["pytorch-optimizer/lion", "timm/lion"]),
        ("optimizer", "Lion", ["pytorch-optimizer/lion", "timm/lion"]),
        ("model", "convnext_atto", ["timm/convnext_atto"]),
        ("loss", "lion", []),
        ("optimizer", "bnbadam", []),  # cannot be used
    ],
)
def test_catalogue_members_are_found_by_their_short_names(kind: str, name: str, members: list[str]) -> None:
    found = known_members(kind, name)
    assert [member for _, member in found] == members
    assert all(known.brings(kind, member) for known, member in found)
