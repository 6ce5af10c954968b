"""The search space: the varied settings and their possible values."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS
from wf.errors import UsageError, unknown
from wf.typed import plain
from wf_cli.arguments import ADD, parse_value, take_options
from wf_compare.grid import key_of, split_values
from wf_run.cli.running import from_line
from wf_run.runfiles.runfile import RunFile, merge

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Value = float | int | str
"""A value of a setting: a number from a range, or the typed text of a choice."""
Point = Mapping[str, Value]
"""The values of one trial, by key."""

RANGES = {
    "log": "log(a,b): real numbers on a log scale",
    "uniform": "uniform(a,b): real numbers",
    "int": "int(a,b): integers, both ends included",
    "logint": "logint(a,b): integers on a log scale",
    "choice": "choice(A,B,...): one of these",
}
"""The notation of values, by name."""
WAYS = "values: log(a,b) or uniform(a,b), int(a,b) or logint(a,b), choice(A,B,...) or A,B,..."
DEFAULT = ""
"""Stands for the component of the defaults among the values with which an option is there."""
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\((.*)\)\Z", re.DOTALL)
_SAME_SAMPLES = "all trials are judged on the same samples"
_NOT_VARIED = {
    "seed": "all trials have one seed; use --repeats for several, and --final-repeats for the final comparison",
    **dict.fromkeys(("dataset", "validation", "split", "fold", "shuffle"), _SAME_SAMPLES),
    "plugins": "all trials have the same plugins",
}


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One varied setting."""

    key: str
    """``optimizer.lr``, ``optimizer`` or ``batch_size``."""
    text: str
    """Its values as typed: ``log(1e-5,1e-1)``."""
    choices: tuple[str, ...] = ()
    """Its values as texts; empty for a range."""
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @property
    def distribution(self) -> BaseDistribution:
        """The values as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def on_grid(self, points: int) -> Dimension:
        """The same setting with its range reduced to at most `points` evenly spaced values."""
        if self.choices:
            return self
        if self.whole and self.high - self.low < points:
            values: list[float] = [self.low + number for number in range(int(self.high - self.low) + 1)]
        else:
            parts = [number / (points - 1) for number in range(points)]
            if self.log:
                values = [self.low * (self.high / self.low) ** part for part in parts]
            else:
                values = [self.low + (self.high - self.low) * part for part in parts]
        texts = [text_of(round(value) if self.whole else float(f"{value:.6g}")) for value in values]
        return Dimension(key=self.key, text=self.text, choices=tuple(dict.fromkeys(texts)))

    def examples(self) -> tuple[Value, ...]:
        """Every value of a choice, and both ends of a range."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def checked(self) -> tuple[Value, ...]:
        """The values to check before the first trial: `examples`, and a fraction from a range of real numbers."""
        if self.choices or self.whole:
            return self.examples()
        return (*self.examples(), self.low + (self.high - self.low) / math.pi)

    def value_of(self, given: Any) -> Value | None:
        """The value of this setting that equals a value of a run file; None if the setting does not have it."""
        given = plain(given)
        if self.choices:
            return next((text for text in self.choices if plain(parse_value(text)) == given), None)
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not self.low <= given <= self.high:
            return None
        return int(given) if self.whole else float(given)


class Space:
    """The settings of a search.

    Args:
        dimensions: The settings, in the order of the command line.
        options: Returns the option names of a component, given its kind and name.
        kinds: Returns the kind of the components that a key chooses, such as `scheduler` for ``scheduler.then``; None
            for other keys.
        given: Options of varied components that have one value, such as ``scheduler.step_size``: trials with a
            component that does not have the option do without it.
        defaults: The names of the components of the defaults, by key.

    Raises:
        UsageError: If there are no settings, one is given twice, or no chosen component has an option.
    """

    def __init__(
        self,
        dimensions: Sequence[Dimension],
        options: Callable[[str, str], Collection[str]],
        kinds: Callable[[str], str | None] = lambda key: key if key in KINDS else None,
        given: Sequence[str] = (),
        defaults: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if not dimensions:
            raise nothing_varied()
        keys = [one.key for one in dimensions]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise UsageError(f"--vary {twice} is given twice\n  give all its values at once: --vary {twice}=A,B")
        chosen = {one.key: one for one in dimensions if one.choices}
        self._only: dict[str, tuple[str, frozenset[str]]] = {}
        owners = set()
        for one in dimensions:
            owner = _owner(one.key, chosen)
            if owner is not None and (kind := kinds(owner)) is not None:
                owners.add(owner)
                having = _having(kind, owner, one.key.removeprefix(f"{owner}."), chosen[owner].choices, options)
                if len(having) < len(chosen[owner].choices):
                    self._only[one.key] = (owner, having)
        for key in given:
            owner = _owner(key, chosen)
            if owner is not None and (kind := kinds(owner)) is not None:
                option, default = key.removeprefix(f"{owner}."), defaults.get(owner)
                having = _having(kind, owner, option, chosen[owner].choices, options, written=f"--{key}")
                is_of_default = default is not None and option.partition(".")[0] in options(kind, default)
                self._only[key] = (owner, having | {DEFAULT} if is_of_default else having)
        self.given = tuple(key for key in given if key in self._only)
        """The keys of options that have one value, in the run file of the search."""

        def place(one: Dimension) -> tuple[bool, bool, int, int]:
            """Components come before their options."""
            depth = one.key.count(".") if one.key in owners else 0
            return one.key not in KINDS, one.key not in owners, depth, keys.index(one.key)

        self.dimensions = sorted(dimensions, key=place)

    @classmethod
    def known(cls, dimensions: Sequence[Dimension], only: Mapping[str, tuple[str, frozenset[str]]]) -> Space:
        """A space with known conditions; `only` maps a setting to the result of `only_where`."""
        space = cls(dimensions, lambda *_: (), lambda _: None)
        space._only = dict(only)
        space.dimensions = list(dimensions)
        space.given = tuple(sorted(only.keys() - {one.key for one in dimensions}))
        return space

    @property
    def conditions(self) -> Mapping[str, tuple[str, frozenset[str]]]:
        """The results of `only_where` by key, for conditional settings and given options."""
        return self._only

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The settings with their values as typed."""
        return [(one.key, one.text) for one in self.dimensions]

    def only_where(self, key: str) -> tuple[str, frozenset[str]] | None:
        """The setting that `key` depends on, and the values with which `key` is active; None if unconditional."""
        return self._only.get(key)

    def is_active(self, key: str, point: Point) -> bool:
        """Whether a trial with these values has the setting `key`."""
        only = self._only.get(key)
        return only is None or point.get(only[0], DEFAULT) in only[1]

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """The values of a trial; values that it already has are kept."""
        point: dict[str, Value] = {}
        for one in self.dimensions:
            if self.is_active(one.key, point):
                point[one.key] = trial._suggest(one.key, one.distribution)
        return point

    def on_grid(self, points: int) -> Space:
        """The same space with each range reduced to `points` values."""
        return Space.known([one.on_grid(points) for one in self.dimensions], self._only)

    def points(self) -> Iterator[dict[str, Value]]:
        """Every combination of the choices and the ends of ranges, each once; all points of a space of choices."""
        seen = set()
        for values in itertools.product(*(one.examples() for one in self.dimensions)):
            point: dict[str, Value] = {}
            for one, value in zip(self.dimensions, values, strict=True):
                if self.is_active(one.key, point):
                    point[one.key] = value
            if (key := tuple(point.items())) not in seen:
                seen.add(key)
                yield point

    def samples(self, fixed: Point = MappingProxyType({})) -> Iterator[Point]:
        """Points that together cover every value of every choice, and the ends and a fraction of every range.

        Args:
            fixed: Values that all points have.
        """

        def point_with(wanted: Point) -> Point:
            point: dict[str, Value] = {}
            for one in self.dimensions:
                if self.is_active(one.key, point):
                    point[one.key] = wanted.get(one.key, one.examples()[0])
            return point

        yield (first := point_with(fixed))
        for one in self.dimensions:
            owner = self.only_where(one.key)
            for value in one.checked():
                needed = {owner[0]: min(owner[1])} if owner and owner[1] else {}
                if (point := point_with({one.key: value, **needed, **fixed})) != first:
                    yield point

    def defaults(self, document: Mapping[str, Any]) -> dict[str, Value] | None:
        """The point with the settings of a resolved run file; None if they are outside the space."""
        point: dict[str, Value] = {}
        for one in self.dimensions:
            if self.is_active(one.key, point):
                value = one.value_of(at(document, one.key))
                if value is None:
                    return None
                point[one.key] = value
        return point


def nothing_varied() -> UsageError:
    """The error for a search without a search space."""
    return UsageError(
        "there is nothing to search: give at least one --vary KEY=VALUES\n"
        "  for example --vary 'optimizer.lr=log(1e-5,1e-1)' --vary optimizer=adam,sgd\n"
        f"  {WAYS}"
    )


def _owner(key: str, chosen: Mapping[str, Dimension]) -> str | None:
    """The varied setting below which another one is: ``optimizer`` of ``optimizer.lr``; None if there is none."""
    parts = key.split(".")
    heads = (".".join(parts[:number]) for number in range(len(parts) - 1, 0, -1))
    return next((head for head in heads if head in chosen), None)


def _having(
    kind: str,
    owner: str,
    option: str,
    names: Sequence[str],
    options: Callable[[str, str], Collection[str]],
    written: str = "",
) -> frozenset[str]:
    """The values of a component with which there is an option; `written` is how it was given."""
    first, _, rest = option.partition(".")
    written = written or f"--vary {owner}.{option}"
    if kind in KINDS.several and owner == kind:  # NAME.OPTION
        with_it = frozenset(name for name in names if name.removeprefix(ADD) == first)
        if not with_it and not all(name.startswith(ADD) for name in names):
            raise UsageError(
                f"{written}: no value of --vary {owner} is '{first}': {', '.join(names)}\n"
                f"  to have it in all trials: --{kind} {ADD}{first}, and values that add: --vary {kind}={ADD}A,{ADD}B"
            )
        return with_it or frozenset(names)
    if rest and first in names:
        raise UsageError(
            f"{written}: an option is written without the name of its component: "
            f"{written.replace(f'{owner}.{option}', f'{owner}.{rest}')}\n"
            "  only trials with a component that has it get it"
        )
    known = {name: options(kind, name) for name in names}
    having = frozenset(name for name in names if first in known[name])
    if not having:
        owners = " and ".join(f"'{name}'" for name in names)
        every = {each for own in known.values() for each in own}
        raise UsageError(unknown("option", first, every, f"see: wf show {kind} {names[0]}", of=f"{kind} {owners}"))
    return having


def parse(text: str) -> Dimension:
    """Parse ``KEY=VALUES``.

    Args:
        text: From the command line: ``optimizer.lr=log(1e-5,1e-1)``, ``optimizer=adam,sgd``.

    Raises:
        UsageError: If it cannot be understood.
    """
    written, equals, values = text.partition("=")
    written, values = written.strip(), values.strip()
    if not equals or not written:
        raise UsageError(f"--vary {text}: write KEY=VALUES, for example --vary optimizer=adam,sgd")
    key = key_of(written)
    if key == "lr":
        key = "optimizer.lr"
    _check_key(key, text)
    found = _CALL.match(values)
    parts = [part.strip() for part in split_values(values, text)]
    if found is None or len(parts) > 1 or ":" in values.partition("(")[0]:
        return _choice(key, values, parts, text)
    name, inside = found[1], [part.strip() for part in split_values(found[2], text)]
    if name not in RANGES:
        raise UsageError(f"--vary {text}: " + unknown("range", name, RANGES, WAYS))
    return _choice(key, values, inside, text) if name == "choice" else _range(key, values, name, inside, text)


def document_of(base: Mapping[str, Any], point: Point, space: Space) -> tuple[RunFile, list[str]]:
    """The run file of a trial (the run file of the search with the settings of a point), and notes for the user.

    Without a point it is the run file of the defaults.
    """
    base, given = without(base, space.given)
    own: dict[str, Any] = {}
    words = []
    for key, value in point.items():
        if "." in key:
            words.append(f"--{key}={text_of(value)}")
        else:
            own[key] = (text_of(value),) if key in KINDS.several else text_of(value)
    over = from_line(own, take_options(words)[0], None)
    for key, value in given.items():
        if space.is_active(key, point):
            _put(over, key.split("."), value)
    return merge(base, over)


def given_in(base: Mapping[str, Any], dimensions: Sequence[Dimension]) -> list[str]:
    """The options of a run file that belong to varied components and are not varied themselves.

    A table that names its component belongs to that component.
    """
    varied, found = {one.key for one in dimensions}, []
    for one in dimensions:
        table: Any = base if one.choices and one.key.partition(".")[0] not in KINDS.several else None
        for part in one.key.split("."):
            table = table.get(part) if isinstance(table, Mapping) else None
        if isinstance(table, Mapping) and "use" not in table:
            found += [key for name in table if (key := f"{one.key}.{name}") not in varied]
    return found


def without(base: Mapping[str, Any], keys: Collection[str]) -> tuple[RunFile, dict[str, Any]]:
    """A run file without some options, and their values."""
    found: RunFile = dict(base)
    values: dict[str, Any] = {}
    for key in keys:
        *path, name = key.split(".")
        inside, tables = found, []
        for part in path:
            inside[part] = dict(inside[part])
            tables.append((inside, part))
            inside = inside[part]
        values[key] = inside.pop(name)
        for outer, part in reversed(tables):
            if not outer[part]:
                del outer[part]
    return found, values


def _put(document: RunFile, path: Sequence[str], value: Any) -> None:
    """Set an option in a run file; a component that is named there gets a table."""
    inside = document
    for part in path[:-1]:
        own = inside.get(part, {})
        inside[part] = dict(own) if isinstance(own, Mapping) else {"use": own}
        inside = inside[part]
    inside[path[-1]] = value


def text_of(value: Value) -> str:
    """A value as the user would type it."""
    return value if isinstance(value, str) else repr(value)


def name_of(point: Point) -> str:
    """A readable name of a point: ``adam, lr 0.00132``."""
    words = []
    for key, value in point.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        words.append(text if key in KINDS else f"{key.rpartition('.')[2]} {text}")
    return ", ".join(words)


def _range(key: str, values: str, name: str, inside: Sequence[str], text: str) -> Dimension:
    whole, log = name in ("int", "logint"), name in ("log", "logint")
    numbers = [plain(parse_value(part)) for part in inside]
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if len(numbers) != 2 or any(isinstance(one, bool) or not isinstance(one, kinds) for one in numbers):
        raise UsageError(f"--vary {text}: {name} takes two {'integers' if whole else 'numbers'}: {name}(a,b)")
    low, high = map(float, numbers)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"--vary {text}: both ends of {name}(a,b) must be finite")
    if low >= high:
        hint = (
            "the ends must differ" if low == high else f"write the smaller end first: {name}({inside[1]},{inside[0]})"
        )
        raise UsageError(f"--vary {text}: there is no range from {inside[0]} to {inside[1]}\n  {hint}")
    if log and low <= 0:
        raise UsageError(f"--vary {text}: {name}(a,b) needs numbers above 0\n  from 0 on: uniform(a,b) or int(a,b)")
    return Dimension(key=key, text=values, low=low, high=high, whole=whole, log=log)


def _choice(key: str, values: str, parts: Sequence[str], text: str) -> Dimension:
    if not all(parts) or not parts:
        raise UsageError(f"--vary {text}: there are no values to choose from\n  {WAYS}")
    if twice := next((part for part in parts if parts.count(part) > 1), None):
        raise UsageError(f"--vary {text}: {twice} is given twice")
    if len(parts) == 1:
        option = f"--{key} {parts[0]}"
        raise UsageError(f"--vary {text}: give at least two values\n  to set it for all trials: {option}")
    return Dimension(key=key, text=values, choices=tuple(parts))


def _check_key(key: str, text: str) -> None:
    kind = key.partition(".")[0]
    if kind in _NOT_VARIED:
        raise UsageError(f"--vary {text}: {kind} cannot be varied: {_NOT_VARIED[kind]}")
    known = [name for name in (*GENERAL, *KINDS.of_runs) if name not in _NOT_VARIED]
    if kind not in (known if kind == key else KINDS.of_runs):
        raise UsageError(unknown("key", key, known, "an option of a component is written KIND.OPTION: optimizer.lr"))


def at(document: Mapping[str, Any], key: str) -> Any:
    """A setting of a resolved run file."""
    if "." not in key:
        value = document.get(key)
        if isinstance(value, Mapping):
            return value.get("use")
        if key in KINDS.several:
            names = [table.get("use") for table in value or ()]
            return names[0] if len(names) == 1 else None
        return value
    found: Any = document
    parts = key.split(".")
    for number, part in enumerate(parts):
        if isinstance(found, list):
            found = next((table for table in found if table.get("use") == part), None)
        elif isinstance(found, Mapping):
            found = found.get(part)
        else:
            return None
        if found is None:
            return None
        if number == len(parts) - 1 and isinstance(found, Mapping):
            return found.get("use")
    return found
