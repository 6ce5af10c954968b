"""Run values that are made when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf.errors import PluginError, UsageError
from wf_building.resolver import RUN, Provider, Resolver

Makers = dict[str, Callable[[Resolver], Any]]


def resolver(makers: Makers, **known: Any) -> Resolver:
    """A resolver of values made by functions that take it."""
    made = Resolver(
        known, lambda name: Provider(f"maker of {name}", lambda: makers[name](made)) if name in makers else None
    )
    return made


def test_each_value_is_made_once_and_after_what_it_needs() -> None:
    order: list[str] = []

    def make(name: str, *needs: str) -> Callable[[Resolver], str]:
        def maker(values: Resolver) -> str:
            found = [values.need(need) for need in needs]
            order.append(name)
            return f"{name}({' '.join(found)})"

        return maker

    values = resolver({"c": make("c", "b", "a"), "b": make("b", "a"), "a": make("a")})
    assert values.need("c") == "c(b(a()) a())"
    assert order == ["a", "b", "c"] == values.made
    assert values.asked_by["a"] == ["maker of b", "maker of c"]


def test_a_given_value_wins_over_a_provider() -> None:
    values = resolver({"a": lambda values: 1}, a=2)
    with values.asking("model 'mlp'"):
        assert values.need("a") == 2
    assert (values.provider("a"), values.asked_by["a"]) == (RUN, ["model 'mlp'"])


def test_a_value_that_needs_itself() -> None:
    values = resolver({"a": lambda values: values.need("b"), "b": lambda values: values.need("a")})
    with values.asking("model 'mlp'"), pytest.raises(UsageError, match=r"\'a\' needs itself: a needs b needs a\n.*mlp"):
        values.need("a")
    assert not values.made


def test_a_value_without_a_provider() -> None:
    values = resolver({})
    assert not values.provides("a")
    with pytest.raises(KeyError, match="a"):
        values.need("a")


def test_generators_are_closed_in_reverse_order() -> None:
    ended: list[str] = []

    def opened(name: str) -> Callable[[Resolver], Iterator[str]]:
        def generator(values: Resolver) -> Iterator[str]:
            if name == "second":
                values.need("first")
            yield name
            ended.append(name)

        return generator

    values = resolver({"first": opened("first"), "second": opened("second")})
    assert values.need("second") == "second"
    assert values["first"] == "first"
    values.close()
    assert ended == ["second", "first"]
    values.close()
    assert len(ended) == 2


def test_a_generator_that_yields_nothing() -> None:
    values = resolver({"a": lambda values: (one for one in ())})
    with pytest.raises(PluginError, match="maker of a ends without a value"):
        values.need("a")
    values.close()


def test_a_provider_that_fails_leaves_nothing_behind() -> None:
    tries: list[int] = []

    def flaky(values: Resolver) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("first")
        return len(tries)

    values = resolver({"a": flaky})
    with pytest.raises(RuntimeError, match="first"):
        values.need("a")
    assert values.need("a") == 2


@given(st.data())
def test_any_acyclic_needs_are_resolved_once_in_order(data: st.DataObject) -> None:
    """Whichever value is requested first, every value is made once, after all its needs."""
    num = data.draw(st.integers(1, 8))
    needs = {
        str(n): data.draw(st.sets(st.integers(0, n - 1)).map(lambda found: {str(m) for m in found})) if n else set()
        for n in range(num)
    }
    made: list[str] = []

    def maker(name: str) -> Callable[[Resolver], str]:
        def make(values: Resolver) -> str:
            for need in sorted(needs[name]):
                assert values.need(need) == need
            made.append(name)
            return name

        return make

    values = resolver({name: maker(name) for name in needs})
    for name in data.draw(st.permutations(sorted(needs))):
        values.need(name)
    assert sorted(made) == sorted(needs)
    assert all(made.index(need) < made.index(name) for name in needs for need in needs[name])


def of_run(made: Resolver, names: dict[str, tuple[str, ...]]) -> Callable[[str], Provider | None]:
    """Providers of the run itself: each returns the text of its needs."""
    return lambda name: (
        Provider(name, lambda: "".join(map(made.need, names[name])) + name, names[name], of_run=True)
        if name in names
        else None
    )


def test_needs_of_a_provider_are_made_before_its_random_context() -> None:
    order: list[str] = []

    @contextmanager
    def apart(name: str) -> Iterator[None]:
        order.append(f"apart {name}")
        yield

    providers = {
        "own": Provider("own", lambda: order.append("own"), of_run=True),
        "b": Provider("b", lambda: order.append("b"), ("own",)),
        "a": Provider("a", lambda: order.append("a"), ("b",)),
    }
    values = Resolver({}, providers.get, apart)
    values.need("a")
    assert order == ["own", "apart b", "b", "apart a", "a"]
    assert values.made == ["b", "a"]  # the state of the run's own values is saved elsewhere


def test_comes_later_tells_which_values_are_still_to_be_made() -> None:
    values = Resolver()
    names: dict[str, tuple[str, ...]] = {"model": (), "params": ("model",), "run_dir": ("params",), "other": ()}
    values._find = of_run(values, names)
    seen: dict[str, bool] = {}

    def model() -> str:
        seen.update({name: values.comes_later(name) for name in names})
        return "m"

    values._find = lambda name: (
        Provider("model", model, of_run=True) if name == "model" else of_run(values, names)(name)
    )
    values.need("run_dir")
    assert seen == {"model": True, "params": True, "run_dir": True, "other": False}
    assert values["run_dir"] == "mparamsrun_dir"
    assert not values.comes_later("model")


def test_at_close_callbacks_run_in_reverse_order() -> None:
    ended: list[str] = []
    values = Resolver()
    for name in ("first", "second"):
        values.at_close(partial(ended.append, name))
    values.close()
    values.close()
    assert ended == ["second", "first"]


def test_values_of_a_scope_are_restored() -> None:
    values = resolver({"b": lambda values: values.need("a") + 1}, a=1)
    with values.within({"a": 5, "c": 7}):
        assert (values.need("b"), values["c"]) == (6, 7)
    assert (values["a"], values["b"], "c" in values) == (1, 6, False)
