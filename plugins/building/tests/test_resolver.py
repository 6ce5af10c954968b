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


def test_values_are_set_counted_and_taken_with_their_provider() -> None:
    values = resolver({"made": lambda values: 3}, known=1)
    values["own"] = 2
    values.take("dataset 'digits'", {"given": 4})
    values.need("made")
    assert dict(values) == {"known": 1, "own": 2, "given": 4, "made": 3}
    assert len(values) == 4
    providers = {name: values.provider(name) for name in ("known", "own", "given", "made")}
    assert providers == {"known": RUN, "own": RUN, "given": "dataset 'digits'", "made": "maker of made"}
    del values["own"]
    assert "own" not in values


def test_a_provider_that_takes_its_value_names_itself() -> None:
    def make(values: Resolver) -> int:
        values.take("dataset 'digits'", {"a": 1})
        return 1

    values = resolver({"a": make})
    values.need("a")
    assert values.provider("a") == "dataset 'digits'"


def test_a_known_value_needs_no_search_for_its_provider() -> None:
    def find(name: str) -> Provider | None:
        raise UsageError(f"several plugins provide '{name}'")

    values = Resolver({"a": 1}, find)
    assert values.provides("a")
    with pytest.raises(UsageError, match="several plugins provide 'b'"):
        values.provides("b")


def test_the_search_for_a_provider_may_set_the_value() -> None:
    """As `outputs` come with the links: the search makes these, and they bring the value."""

    def find(name: str) -> Provider | None:
        values.take("task 'classification'", {name: "found"})
        return None

    values = Resolver({}, find)
    assert values.provides("asked")
    values = Resolver({}, find)
    assert values.need("needed") == "found"
    assert values.provider("needed") == "task 'classification'"


def test_each_requester_is_recorded_once_and_the_chain_names_earlier_ones() -> None:
    seen: list[str] = []
    values = resolver({"a": lambda values: 1, "b": lambda values: seen.append(values.chain()) or values.need("a")})
    values.need("a")
    assert values.asked_by["a"] == []
    with values.asking("trainer 'x'"), values.asking("model 'y'"):
        assert values.chain() == "trainer 'x'"
        values.need("a")
        values.need("a")
        values.need("b")
    assert values.asked_by == {"a": ["model 'y'", "maker of b"], "b": ["model 'y'"]}
    assert seen == ["trainer 'x' > model 'y'"]
    assert values.chain() == ""


def test_run_values_have_a_chain_independent_of_their_requester() -> None:
    chains: list[str] = []

    def make() -> str:
        chains.append(values.chain())
        values.need("a")
        with values.asking("model 'mlp'"):
            chains.append(values.chain())
            values.need("a")
        return "made"

    providers = {"a": Provider("a", lambda: 1), "model": Provider("the model", make, of_run=True)}
    values = Resolver({}, providers.get)
    with values.asking("hook 'x'"), values.asking("hook 'y'"):
        values.need("model")
        assert values.chain() == "hook 'x'"
    assert chains == ["", ""]
    assert values.asked_by == {"model": ["hook 'y'"], "a": ["the model", "model 'mlp'"]}
    values.need("model")
    assert values.asked_by["model"] == ["hook 'y'"], "nobody asks now"


def test_missing_and_later_needs_are_skipped() -> None:
    made: list[str] = []

    def provider(name: str, *needs: str, of_run: bool = True) -> Provider:
        return Provider(name, lambda: made.append(name), needs, of_run)

    providers = {
        "model": provider("model", "noise", "absent"),
        "noise": provider("noise", "params", "absent", "size", of_run=False),
        "size": provider("size"),
        "params": provider("params", "model"),
    }
    values = Resolver({}, providers.get)
    values.need("model")
    assert made == ["size", "noise", "model"]
    assert "params" not in values


def test_dependents_of_the_value_being_made_come_later() -> None:
    seen: dict[str, bool] = {}
    names: dict[str, tuple[str, ...]] = {"params": ("model",), "run_dir": ("params",), "other": ()}

    def model() -> str:
        seen.update({name: values.comes_later(name) for name in (*names, "known", "absent", "plugin")})
        return "m"

    providers = {name: Provider(name, lambda: "", needs, of_run=True) for name, needs in names.items()}
    providers["model"] = Provider("model", model, of_run=True)
    providers["plugin"] = Provider("plugin", lambda: "", ("model",))
    values = Resolver({"known": 1}, providers.get)
    values.need("model")
    expected = {"params": True, "run_dir": True, "other": False, "known": False, "absent": False, "plugin": False}
    assert seen == expected


def test_a_separate_random_stream_can_be_asked_for() -> None:
    apart: list[str] = []

    @contextmanager
    def stream(name: str) -> Iterator[None]:
        apart.append(name)
        yield

    with Resolver({}, apart=stream).apart("noise"):
        assert apart == ["noise"]
    with Resolver().apart("noise"):
        pass


def test_a_value_can_be_deleted_within_its_scope() -> None:
    values = Resolver({"a": 1})
    with values.within({"a": 2, "b": 3}):
        del values["b"]
    assert dict(values) == {"a": 1}
