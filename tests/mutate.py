"""Mutation tests: change one expression or statement of a module at a time, and see whether a test fails.

    python tests/mutate.py [TARGET ...]

pytest collects the tests of a target once. For each mutant it forks, replaces the code of one function, and runs the
tests that execute the changed lines until one fails, which takes well under a second. The operators are those of
mutmut, whose own runner cannot work with several `src` folders, and those in `of_statements`.

`equivalent_mutants.txt` lists the survivors that do what the original does, below the reason as a comment. Any other
survivor, and an entry that is no survivor any more, makes the exit code 1.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterator
from difflib import ndiff
from pathlib import Path
from typing import Any, NamedTuple

import libcst as cst
import pytest
from _pytest.runner import runtestprotocol
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "tests/equivalent_mutants.txt"
TRAINING, BUILDING = "plugins/training/tests/test_", "plugins/building/tests"
WEIGHTING = ("plugins/base/tests/test_objective.py", f"{TRAINING}gradients.py")
STEPPING = (f"{TRAINING}steps.py", f"{TRAINING}trainer.py", f"{TRAINING}precision.py")
TARGETS = {
    "corelib/src/wf/engine/loop.py": ("corelib/tests/test_loop.py", "corelib/tests/test_figures.py"),
    "corelib/src/wf/engine/saving.py": ("corelib/tests/test_loop.py",),
    "corelib/src/wf/engine/participants.py": ("corelib/tests/test_loop.py", "corelib/tests/test_events.py"),
    "plugins/state/src/wf_state/codec.py": ("plugins/state/tests/test_codec.py",),
    "plugins/state/src/wf_state/memory.py": ("plugins/state/tests/test_codec.py",),
    "plugins/building/src/wf_building/resolver.py": (f"{BUILDING}/test_resolver.py",),
    "plugins/building/src/wf_building/on_demand.py": (f"{BUILDING}/test_on_demand.py", f"{BUILDING}/test_builder.py"),
    "plugins/building/src/wf_building/builder.py": (f"{BUILDING}/test_builder.py", f"{BUILDING}/test_on_demand.py"),
    "plugins/building/src/wf_building/scopes.py": (f"{BUILDING}/test_scopes.py",),
    "plugins/run/src/wf_run/graph.py": ("plugins/run/tests/test_graph.py",),
    "plugins/base/src/wf_base/training/gradients.py": WEIGHTING,
    "plugins/base/src/wf_base/training/objective.py": WEIGHTING,
    "plugins/training/src/wf_training/evaluator.py": (f"{TRAINING}evaluator.py",),
    "plugins/training/src/wf_training/steps.py": STEPPING,
    "plugins/data/src/wf_data/batches/shares.py": ("plugins/data/tests/test_shares.py",),
}
"""The modules, and the tests that must notice a change of each."""
PROCESSES = {"wf", "ranks", "wf_process", "fork_server"}
"""Fixtures of tests that run other processes, which have the original code: these tests are left out."""
SKIPPED = (cst.Annotation, cst.Decorator, cst.Assert, cst.Param, cst.FormattedString, cst.ConcatenatedString)
"""Types, our own invariants, default values and messages are not changed."""
MAX_EXAMPLES = 25
OPTIONS = ("-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "-m", "not exhaustive and not alone")


class Mutant(NamedTuple):
    """A changed module: the lines that are changed, the whole source, and ``- old line + new line``."""

    lines: range
    source: str
    text: str


def of_statements(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Leave out a statement, return nothing, or turn a condition around."""
    if isinstance(node, cst.Assign | cst.AugAssign | cst.Raise) or (
        isinstance(node, cst.Expr) and not isinstance(node.value, cst.SimpleString | cst.Yield)
    ):
        yield cst.Pass()
    elif isinstance(node, cst.Return) and node.value is not None:
        yield node.with_changes(value=cst.Name("None"))
    elif isinstance(node, cst.If | cst.While):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), inner))


class Changes(cst.CSTVisitor):
    """Collects the changes within functions: lines, node and replacement."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[range, cst.CSTNode, cst.CSTNode]] = []
        self._functions = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED):
            return False
        for kind, operator in (*mutation_operators, (cst.CSTNode, of_statements)) if self._functions else ():
            if isinstance(node, kind):
                changed = list(operator(node))
                if operator is operator_string:  # names and keys in one way each, and no messages
                    changed = [] if " " in node.value else changed[:1]
                place = self.get_metadata(PositionProvider, node)
                self.found += [(range(place.start.line, place.end.line + 1), node, one) for one in changed]
        self._functions += isinstance(node, cst.FunctionDef | cst.Lambda)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._functions -= isinstance(original_node, cst.FunctionDef | cst.Lambda)


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every mutant of a module that Python accepts."""
    wrapper, changes = MetadataWrapper(cst.parse_module(source)), Changes()
    wrapper.visit(changes)
    for lines, node, other in changes.found:
        changed = wrapper.module.deep_replace(node, other).code
        try:
            compile(changed, "", "exec")
        except SyntaxError:
            continue
        differing = [line for line in ndiff(source.splitlines(), changed.splitlines()) if line[0] in "-+"]
        if changed != source:
            yield Mutant(lines, changed, " ".join(" ".join(differing).split()))


def functions_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The outermost functions of a module or class."""
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from [one] if one.co_flags & 1 else functions_in(one)  # CO_OPTIMIZED: a function


def key_of(code: types.CodeType) -> tuple[str, int]:
    """The identity of an outermost function in all mutants of its module."""
    return code.co_qualname, code.co_firstlineno


def last_line(code: types.CodeType) -> int:
    """The last line of a function."""
    nested = [last_line(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return max([line for *_, line in code.co_lines() if line] + nested)


def passes(item: Any) -> bool:
    """Whether a test passes."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def fork(function: Callable[[], str], limit_sec: float) -> tuple[int, str]:
    """The exit status of a fork that runs a function, and its result."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, limit_sec)  # kills it
        errors, null = os.dup(2), os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        try:
            os.write(writer, function().encode())
        except BaseException:
            os.write(errors, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    return os.waitpid(pid, 0)[1], text


class Mutation:
    """A plugin of pytest that runs the mutants of one module instead of the tests."""

    def __init__(self, file: Path) -> None:
        self.file, self.source = str(file), file.read_text()

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Make property tests try the same examples for each mutant."""
        from hypothesis import Phase, settings  # pytest rewrites it first

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutate", settings(), derandomize=True, database=None, phases=phases)
        settings.load_profile("mutate")

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out the tests of other processes, and let property tests try few examples."""
        from hypothesis import settings

        items[:] = [item for item in items if not PROCESSES & {*item.fixturenames}]
        for item in items:
            function = getattr(item.obj, "__func__", item.obj)
            if own := getattr(function, "_hypothesis_internal_use_settings", None):
                few = settings(own, max_examples=min(own.max_examples, MAX_EXAMPLES))
                function._hypothesis_internal_use_settings = few

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every mutant."""
        if session.testsfailed:
            raise session.Interrupted("errors during collection")
        gc.unfreeze()  # what conftest.py froze, which includes the functions
        self.caches = [one for one in gc.get_objects() if type(one) is functools._lru_cache_wrapper]
        status, text = fork(lambda: json.dumps([self._watched(item) for item in session.items]), 900)
        if status:
            raise session.Failed("a test fails without a mutant")
        tests = sorted(zip(session.items, json.loads(text), strict=True), key=self.order)
        functions = [one for one in gc.get_objects() if type(one) is types.FunctionType]
        functions = [one for one in functions if one.__code__.co_filename == self.file]
        gc.freeze()  # a collection in a fork would copy every page
        originals = list(functions_in(compile(self.source, self.file, "exec")))
        short = self.file.rpartition("/src/")[2]
        known = [line for line in EQUIVALENT.read_text().splitlines() if line.startswith(f"{short} ")]
        counts = Counter[str]()
        survivors = set()
        for mutant in mutants_of(self.source):
            first = mutant.lines.start
            found = [one for one in originals if one.co_firstlineno <= first <= last_line(one)]
            key = key_of(max(found, key=lambda one: one.co_firstlineno))
            targets = [one for one in functions if key_of(one.__code__) == key]
            if not targets:
                raise session.Failed(f"{key[0]} in line {key[1]} of {short} was not found in this process")
            chosen = [(item, spent) for item, (spent, lines) in tests if {*lines} & {*mutant.lines}]
            run = functools.partial(self._run, mutant.source, key, targets, [item for item, _ in chosen])
            name = f"{short} {key[0]}: {mutant.text}"
            status, failed = fork(run, 5 + 4 * sum(spent for _, spent in chosen))
            verdict = "killed" if status or failed else "equivalent" if name in known else "survived"
            counts[verdict] += 1
            if verdict != "killed":
                survivors.add(name)
            if verdict == "survived" or "MUTATE_ALL" in os.environ:
                print(f"{verdict}, line {first}, {len(chosen)} tests: {name}  {failed}", flush=True)
        gone = [name for name in known if name not in survivors]
        print(
            *(f"killed or gone, though listed as equivalent: {name}" for name in gone), sep="\n", end="\n" * bool(gone)
        )
        words = [f"{counts[verdict]} {verdict}" for verdict in ("killed", "equivalent", "survived")]
        print(f"{short}: {counts.total()} mutants, {', '.join(words)}", flush=True)
        session.testsfailed = counts["survived"] + len(gone)
        return True

    def order(self, test: Any) -> Any:
        """The fast ones first."""
        return test[1][0]

    def _watched(self, item: Any) -> tuple[float, list[int]]:
        """The seconds that a test takes, and the lines of the module that it executes."""
        lines: set[int] = set()

        def trace(frame: types.FrameType, event: str, arg: Any) -> Any:
            if frame.f_code.co_filename != self.file:
                return None
            lines.add(frame.f_lineno)
            return trace

        began = time.monotonic()
        if not passes(item):
            raise AssertionError(f"{item.nodeid} fails without a mutant")
        spent = time.monotonic() - began
        for cache in self.caches:
            cache.cache_clear()
        threading.settrace(trace)
        sys.settrace(trace)
        passes(item)
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # typeshed leaves it out
        return spent, sorted(lines)

    def _run(self, source: str, key: tuple[str, int], functions: list[Any], items: list[Any]) -> str:
        """Put a mutant's function in place of the original; gives the first test that fails."""
        codes = {key_of(one): one for one in functions_in(compile(source, self.file, "exec"))}
        for function in functions:
            function.__code__ = codes[key]
        for cache in self.caches:
            cache.cache_clear()
        return next((item.nodeid for item in items if not passes(item)), "")


def main(names: list[str]) -> int:
    """Each target in a process of its own."""
    chosen = [file for file in TARGETS if not names or Path(file).stem in names or file in names]
    if not chosen:
        known = ", ".join(Path(file).stem for file in TARGETS)
        print(f"no module is named {' or '.join(names)}; there are: {known}", file=sys.stderr)
        return 2
    if len(chosen) != 1:
        command = [sys.executable, __file__]
        return max(subprocess.run([*command, file], cwd=ROOT, check=False).returncode for file in chosen)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return int(pytest.main([*OPTIONS, *TARGETS[chosen[0]]], plugins=[Mutation(ROOT / chosen[0])]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
