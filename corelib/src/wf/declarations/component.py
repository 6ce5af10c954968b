"""Declarations of components and catalogues.

A declaration imports nothing heavy: the target is a string and is loaded on first use.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache
from typing import Any, Literal

from wf.declarations.conditions import Condition
from wf.declarations.declared import DECLARATIONS
from wf.declarations.fields import check_fields
from wf.declarations.kinds import KINDS
from wf.declarations.task import Task
from wf.declarations.values import RunValue
from wf.errors import closest


class _Required:
    """The default of an option that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()


@dataclass(frozen=True, kw_only=True)
class Param:
    """One option of a component."""

    name: str
    type: Any = Any
    """Its annotation; values are converted to it."""
    default: Any = REQUIRED
    help: str = ""
    kind: str | None = None
    """The kind of component that it is itself, for a nested one (`[optimizer.base]`)."""
    source: str | None = None
    """The run value that fills it when the user does not (`num_classes`, ...)."""
    is_value: bool = True
    """For a general key: whether it is a run value, too. ``run.toml`` holds such a key only if the user sets it or a
    component takes it; a general key that is not a run value is always there."""
    may_change: bool = False
    """Of a general key: whether a run may go on with another value, because its later bits do not depend on it, or
    because a condition of its own covers it."""
    choices: tuple[str, ...] = ()
    """Of a general key: its values, where there are few."""
    least: int | None = None
    """Of a general key: its smallest value, where it is a whole number."""
    most: int | None = None
    """Of a general key: its largest value, where it is a whole number."""
    metavar: str = ""
    """Of a general key: what help calls its value, as ``STEPS``; by default its `choices`, or a word for any value."""
    any_name: bool = False
    """Whether it stands for any number of options, whose names users choose: ``validation.night``, ``validation.rain``.
    The target takes them as ``**options``; `name` is for help."""

    def __post_init__(self) -> None:
        check_fields(self, "option '{0.name}'")

    def facts(self) -> dict[str, Any]:
        """What ``wf show`` says of it as a general key."""
        option = f"--{self.name.replace('_', '-')}"
        return {"summary": self.help, "option": option, "type": self.type, "default": self.default}

    @property
    def is_required(self) -> bool:
        """Whether users must give it."""
        return self.default is REQUIRED and self.source is None and not self.any_name


@dataclass(frozen=True)
class Nested:
    """Marks a parameter that is itself a component: ``base: Annotated[Optimizer, Nested("optimizer")]``.

    Around a list it marks several components: ``parts: Annotated[list[Optimizer], Nested("optimizer")]``.
    """

    kind: str


@dataclass(frozen=True)
class FromRun:
    """Marks a parameter that the run fills in unless the user sets it: ``n: Annotated[int, FromRun("total_epochs")]``.

    The run's value takes precedence over a default, which is left for runs that do not know the value.
    """

    source: str
    """One of `wf.declarations.values.VALUES`."""


@dataclass(frozen=True)
class Component:
    """A named component of a plugin.

    Args:
        kind: One of `wf.declarations.kinds.KINDS`, which plugins declare with ``wf_kinds``.
        name: What users type: lower case, digits and hyphens, and dots where a run has one component of the kind.
        target: ``"package.module:Attr"``, loaded on first use, or the object itself.
        summary: One line for lists.
        aliases: Other names that people type; lists show the canonical one.
        traits: Its declared properties; None means unknown.
        params: Its options, where the target's signature does not say them well.
        inject: Parameters that the run fills in under another name, e.g. ``{"in_chans": "num_channels"}``.
        call: ``"factory"``: the target is called with the options and gives the component;
            ``"function"``: the target is the loss itself, called with (predictions, targets) and the options;
            ``"auto"``: a plain function of kind loss whose first two parameters have no default is a function.
        args: Positional arguments for the target, before the options (a catalogue passes the member's name).
        like: ``"package.module:function"``, called with `args` to give the class or function whose signature and
            docstring say the options, for a target that takes ``**options`` for another library's components.
        default: Whether a run that names no component of the kind takes this one; a run that names no hooks takes all
            of these. A model may instead name the inputs of the datasets for which it is the default: ``"tokens"``.
            A strategy may name ``"processes"``: it is the default of a run in several processes.
        deprecated_names: Names that it had before. They keep working, with one warning that says the new one.
        deprecated_params: Names that its options had before, each with the new one: ``{"gama": "gamma"}``. Likewise.
        plain: ``"package.module:attr"``, a function or class in plain PyTorch that does the same and takes the same
            options: one of torch's own, or one whose source needs nothing of wf. ``wf export`` writes it into a script;
            by default the target itself, where its source stands alone.
        moved_from: The plugins that provided it before, each with its target there. Runs made with them resume with
            this component, and ``NAME@PLUGIN`` finds it, unless that plugin still provides a component of this name.
    """

    kind: str
    name: str
    target: str | Callable[..., Any]
    summary: str = ""
    _: KW_ONLY
    aliases: tuple[str, ...] = ()
    traits: Any = None
    params: tuple[Param, ...] | None = None
    inject: Mapping[str, str] = field(default_factory=dict)
    call: Literal["factory", "function", "auto"] = "auto"
    args: tuple[Any, ...] = ()
    like: str | None = None
    default: bool | str = False
    deprecated_names: tuple[str, ...] = ()
    deprecated_params: Mapping[str, str] = field(default_factory=dict)
    moved_from: Mapping[str, str] = field(default_factory=dict)
    plain: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "component '{0.name}'")
        if self.kind in KINDS or self.kind in DECLARATIONS:
            check_kind(self)
        for name in self.all_names:
            check_name(name)
        for text in (self.target, self.like, self.plain):
            module, _, attribute = text.rpartition(":") if isinstance(text, str) else ("-", "", "-")
            if not module or not attribute:
                raise ValueError(f"component '{self.name}': '{text}' is not of the form 'module:Attr'")

    @property
    def all_names(self) -> tuple[str, ...]:
        """Its name and all others that it is found by."""
        return (self.name, *self.aliases, *self.deprecated_names)

    @property
    def target_name(self) -> str:
        """The target as `module:Attr`."""
        if isinstance(self.target, str):
            return self.target
        return f"{self.target.__module__}:{getattr(self.target, '__qualname__', type(self.target).__qualname__)}"


@dataclass(frozen=True)
class Catalogue:
    """A family of components under a prefix (``torchvision/resnet18``), listed without importing its library.

    Args:
        kind: As for `Component`.
        prefix: The part before the slash.
        target: ``"package.module:function"``, called as ``function(name, **options)``.
        index: ``"package:file.txt"``, a text file in the package with one member per line: its name, then the name of
            its group if it is in one, then its summary. ``#`` starts a comment.
        summary: One line for lists.
        traits: The traits of every member that is in no group.
        groups: The traits of the members of each group. The group ``refused`` holds the members that cannot be used;
            their summaries say why.
        targets: The target of each group that does not use `target`.
        params: As for `Component`.
        inject: As for `Component`.
        like: As for `Component`.
    """

    kind: str
    prefix: str
    target: str
    index: str
    summary: str = ""
    _: KW_ONLY
    traits: Any = None
    groups: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    params: tuple[Param, ...] | None = None
    inject: Mapping[str, str] = field(default_factory=dict)
    like: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "catalogue '{0.prefix}'")
        check_name(self.prefix)
        if self.kind in KINDS:
            check_kind(self)

    def names(self) -> list[str]:
        """The names of its members, without the prefix."""
        return [row.name for row in _read_index(self.index, (*self.groups, REFUSED)).values()]

    def usable(self) -> list[str]:
        """The names of the members that can be used, without the prefix."""
        refused = self.refused()
        return [name for name in self.names() if name not in refused]

    def refused(self) -> dict[str, str]:
        """The members that cannot be used, each with the reason."""
        rows = _read_index(self.index, (*self.groups, REFUSED)).values()
        return {row.name: row.summary for row in rows if row.group == REFUSED}

    def member(self, name: str) -> Component:
        """The component of one member.

        Raises:
            KeyError: If there is none with that name.
        """
        row = _read_index(self.index, (*self.groups, REFUSED))[name]
        return Component(
            self.kind,
            f"{self.prefix}/{name}",
            self.targets.get(row.group, self.target),
            row.summary or self.summary,
            traits=self.groups.get(row.group, self.traits),
            params=self.params,
            inject=self.inject,
            call="factory",
            args=(name,),
            like=self.like,
        )


REFUSED = "refused"
"""The group of a catalogue's members that cannot be used."""


@dataclass(frozen=True)
class _Row:
    """A line of a catalogue's index."""

    name: str
    group: str
    summary: str


@cache
def _read_index(index: str, groups: tuple[str, ...]) -> dict[str, _Row]:
    """The lines of an index by name."""
    package, _, file = index.partition(":")
    rows: dict[str, _Row] = {}
    for line in _file_of(package, file).splitlines():
        name, group, summary = [*line.split(maxsplit=2), "", "", ""][:3]
        if not name or name.startswith("#"):
            continue
        check_name(f"x/{name}")
        if group and group not in groups:
            raise ValueError(f"{index}: '{name}' is of group '{group}'; groups: {', '.join(groups)}")
        if group == REFUSED and not summary:
            raise ValueError(f"{index}: '{name}' is refused without a reason")
        rows[name] = _Row(name, group, summary)
    return rows


def _file_of(package: str, file: str) -> str:
    """The text of a file in a package; `importlib.resources` takes 7 ms to import."""
    importlib.import_module(package)
    content = pkgutil.get_data(package, file)
    if content is None:  # a namespace package
        from importlib.resources import files

        content = files(package).joinpath(file).read_bytes()
    return content.decode()


def is_provided(declared: Any) -> bool:
    """Whether a declaration names the function that provides it; other run values and conditions are only names."""
    return not isinstance(declared, (RunValue, Condition)) or _target_of(declared) is not None


def _target_of(declared: Any) -> Any:
    return declared.provider if isinstance(declared, RunValue) else declared.target


def of_declaration(declared: Any) -> Component:
    """The registry form of a non-component; its declaration takes the place of traits."""
    kind = next(kind for kind, cls in DECLARATIONS.items() if isinstance(declared, cls))
    target = _target_of(declared) or "wf.declarations.task:Link"  # a link that changes nothing has nothing to load
    asks = isinstance(declared, (RunValue, Condition))  # for run values, by its parameters
    return Component(
        kind,
        declared.name,
        target,
        declared.summary,
        aliases=declared.aliases if isinstance(declared, Task) else (),
        traits=declared,
        params=None if asks else (),
    )


def with_target(component: Component, target: Callable[..., Any]) -> Component:
    """The same component, its target loaded."""
    return replace(component, target=target)


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._/-]*)?\Z")


MAX_NAME = 80
"""The maximum length of a name: lists have a column for names."""


def check_name(name: str) -> None:
    """Refuse an invalid component name.

    Raises:
        ValueError: With the allowed values.
    """
    if len(name) > MAX_NAME:
        raise ValueError(f"'{name[:20]}...' is a name of {len(name)} characters; {MAX_NAME} are allowed")
    if not _NAME.match(name):
        raise ValueError(
            f"'{name}' is not a component name: use lower case, digits, '-', '_', '.' (upper case after a '/')"
        )


def check_kind(component: Component | Catalogue) -> None:
    """Refuse a component of an undeclared kind, or with an unsuitable name or traits.

    When a component is declared, the plugin that declares its kind need not be loaded yet; by now all are.

    Raises:
        ValueError: With the available kinds.
    """
    if component.kind not in KINDS and component.kind not in DECLARATIONS:
        what = f"{'component' if isinstance(component, Component) else 'catalogue'} '{_title(component)}'"
        near = closest(component.kind, KINDS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"kinds: {', '.join(KINDS) or 'none is declared'}"
        raise ValueError(f"{what} is of unknown kind '{component.kind}'; {hint}")
    _check_default(component)
    kind = KINDS.get(component.kind)
    for name in component.all_names if isinstance(component, Component) and kind and kind.several else ():
        if "." in name and "/" not in name:
            first = name.partition(".")[0]
            raise ValueError(f"'{name}' has a dot: --{component.kind}.{name}.OPTION would be an option of '{first}'")
    _check_traits(component, component.traits)
    for traits in component.groups.values() if isinstance(component, Catalogue) else ():
        _check_traits(component, traits)


def _check_default(component: Component | Catalogue) -> None:
    """Refuse a default for a kind that chooses its components in another way."""
    if isinstance(component, Catalogue) or not component.default:
        return
    chosen_by = KINDS[component.kind].chosen_by if component.kind in KINDS else "nobody"
    if chosen_by:
        raise ValueError(f"component '{component.name}': no {component.kind} can be a default: {chosen_by} chooses it")
    kind = KINDS.get(component.kind)
    of_several = component.default == "processes" and kind is not None and kind.by_processes
    if isinstance(component.default, str) and not of_several and not (kind is not None and kind.by_inputs):
        kinds = " or ".join(name for name, kind in KINDS.items() if kind.by_inputs) or "nothing"
        text = f"component '{component.name}': only a {kinds} can be the default for certain inputs; say default=True"
        raise ValueError(text)


def _title(declared: Component | Catalogue) -> str:
    return declared.name if isinstance(declared, Component) else declared.prefix


def _check_traits(owner: Component | Catalogue, traits: Any) -> None:
    """Refuse traits that belong to another kind."""
    if traits is None:
        return
    wanted = DECLARATIONS.get(owner.kind) or KINDS[owner.kind].traits
    if wanted is None or not isinstance(traits, wanted):
        what = f"component '{_title(owner)}'" if isinstance(owner, Component) else f"catalogue '{_title(owner)}'"
        belongs = "has no traits" if wanted is None else f"has {wanted.__name__}"
        raise ValueError(f"{what}: its traits are {type(traits).__name__}, and a {owner.kind} {belongs}")
