"""Signatures read from source files equal the imported ones; uncertain ones are not read."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wf import Component
from wf.declarations.component import REQUIRED
from wf.discovery.entry import Entry
from wf.parameters import convert, from_signature, is_function_loss, type_name
from wf_signatures.reading import Reading, is_exact, read

HEAD = """from __future__ import annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional
from wf import Nested
if TYPE_CHECKING:
    from nowhere import Unseen
"""
NUMBERS = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An importable package with a name that no other test uses; `write` writes its modules."""
    name = f"static_{next(NUMBERS)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def write(tmp_path: Path, package: str, **texts: str) -> None:
    for module, text in texts.items():
        (tmp_path / package / f"{module}.py").write_text(text)


def both(target: str) -> tuple[Reading, Any]:
    """The reading of a target, and the imported target."""
    found = read(target)
    assert found is not None
    return found, Entry(Component("model", "x", target)).load()


def check_same(found: Reading, target: Any) -> None:
    """Check that the reading equals the imported target."""
    assert list(map(shown, from_signature(found.target))) == list(map(shown, from_signature(target)))
    for static, dynamic in zip(from_signature(found.target), from_signature(target), strict=True):
        assert static.type == dynamic.type or not is_exact(static.type)
        assert type(static.default) is type(dynamic.default)
    assert inspect.cleandoc(found.target.__doc__ or "") == inspect.cleandoc(target.__doc__ or "")
    assert found.source == inspect.getsource(target)
    assert (str(found.file), found.line) == (inspect.getsourcefile(target), inspect.getsourcelines(target)[1])
    loss = Component("loss", "x", "a:b")
    assert is_function_loss(loss, found.target) == is_function_loss(loss, target)


def shown(param: Any) -> tuple[Any, ...]:
    """An option as users see it."""
    return param.name, type_name(param.type), param.default, param.help, param.kind


CERTAIN = {
    "function": 'def it(a: int, b: float = 1.5, *, c: bool = False):\n    """Args:\n        a: An a.\n    """',
    "loss": "def it(predictions, targets, delta: float = 1.0): ...",
    "kinds": "def it(a, /, b, *rest: Unseen, c=1, **more: Unseen) -> Unseen: ...",
    "class": 'class it:\n    """Args:\n        a: An a.\n    """\n\n    def __init__(self, a: int = 1): "More."',
    "no init": "class it:\n    size = 3",
    "object": "class it(object):\n    def __init__(self, a: int): ...",
    "inherited": "class Base:\n    def __init__(self, a: int = 1): ...\nclass it(Base): ...",
    "hook": "from wf import Hook\nclass it(Hook):\n    def __init__(self, patience: int = 5): ...",
    "hook without init": "import wf.engine.events\nclass it(wf.engine.events.Hook): ...",
    "abstract": "from abc import ABC\nclass it(ABC):\n    def __init__(self, a: int): ...",
    "two bases": "class A: ...\nclass B: ...\nclass it(A, B):\n    def __init__(self, a: int): ...",
    "alias": "Mode = Literal['a', 'b']\nMaybe = Mode | None\ndef it(a: Maybe = 'a', b: Optional[Mode] = None): ...",
    "typed alias": "from typing import TypeAlias\nMode: TypeAlias = Literal['a', 'b']\ndef it(mode: Mode = 'a'): ...",
    "constant": "RATE = 1e-3\nSIZES = (1, -2)\ndef it(rate: float = RATE, sizes: tuple[int, ...] = SIZES): ...",
    "arithmetic": "def it(rate: float = 1 / 255, size: int = 64 * 1024, low: float = -1.0): ...",
    "infinite": "import math\ndef it(most: float = math.inf, least: float = float('-inf')): ...",
    "path": "def it(path: Path = Path('data')): ...",
    "mutable literal": "def it(hidden: list[int] = [1, 2]): ...",
    "own class": "class Own: ...\ndef it(one: Own | None = None, many: dict[str, list[Own]] = None): ...",
    "callable": "from collections.abc import Callable as C\ndef it(f: C[[int, Any], str], g: C[..., int]): ...",
    "dotted": "import typing as t\nimport collections.abc\ndef it(a: t.Any, b: collections.abc.Sequence[int]): ...",
    "nested": "def it(a: Annotated[Any, Nested('model')], b: Annotated[int, Nested('loss')] | None = None): ...",
    "for type checkers": "def it(a: int, b: Unseen | None = None, c: dict[str, Unseen] = None, d: float = 1): ...",
    "quoted": "def it(a: 'int', b: 'Path | None' = None): ...",
    "no annotation": "def it(a, b=1): ...",
    "none": "def it(a: None = None): ...",
    "no type": "def it(a: 3): ...",
    "form feed": "x = 'a\x0cb\u2028'\ndef it(a: int): ...",
    "main": "def it(a: int): ...\nif __name__ == '__main__':\n    it.__doc__ = 'changed'\n    it(1)",
    "called": "def it(a: int): ...\nmade = it(1)",
    "twice imported": "import typing\nimport typing\ndef it(a: typing.Any): ...",
    "class names do not count": "class it:\n    int = str\n    def __init__(self, a: int): ...",
    "strings with line breaks": "def it(a: str = '''x\ny''', b: str = \"q'\"): ...",
    "comments": "# a\nclass it:  # b\n    # c\n    def __init__(self, a: int): ...  # d\n    # e\n# f\nx = 1",
}


@pytest.mark.parametrize("name", CERTAIN)
def test_certain_signatures_equal_the_imported_ones(name: str, tmp_path: Path, package: str) -> None:
    write(tmp_path, package, module=HEAD + CERTAIN[name])
    check_same(*both(f"{package}.module:it"))


@pytest.mark.parametrize("name", sorted(CERTAIN.keys() - {"kinds", "for type checkers", "class names do not count"}))
def test_certain_signatures_without_deferred_annotations(name: str, tmp_path: Path, package: str) -> None:
    write(tmp_path, package, module=HEAD.partition("\n")[2] + CERTAIN[name])
    check_same(*both(f"{package}.module:it"))


def test_a_hook_derived_from_wf_hook(tmp_path: Path, package: str) -> None:
    """`wf.Hook` is imported lazily."""
    write(tmp_path, package, module="from wf import Hook\nclass it(Hook):\n    def __init__(self, a: int = 3): ...\n")
    check_same(*both(f"{package}.module:it"))


def test_annotations_with_names_from_the_class_body(tmp_path: Path, package: str) -> None:
    write(tmp_path, package, module=CERTAIN["class names do not count"])
    assert read(f"{package}.module:it") is None


UNCERTAIN = {
    "missing": "",
    "misspelt": "def its(): ...",
    "syntax": "def it(:",
    "syntax that shows late": "def it(a, a): ...",
    "return outside": "def it(a): ...\nreturn",
    "not utf-8": "# coding: nonsense\ndef it(a): ...",
    "decorated": "import functools\n@functools.cache\ndef it(a: int): ...",
    "decorated class": "from dataclasses import dataclass\n@dataclass\nclass it:\n    a: int = 1",
    "decorated init": "def w(f): return lambda self: None\nclass it:\n    @w\n    def __init__(self, a): ...",
    "wrapped": "def it(a): ...\nit = print",
    "async": "async def it(a): ...",
    "lambda": "it = lambda a: a",
    "partial": "import functools\nit = functools.partial(int, base=2)",
    "alias": "def other(a): ...\nit = other",
    "conditional": "import sys\nif sys.platform:\n    def it(a): ...\nelse:\n    def it(b): ...",
    "tried": "try:\n    def it(a): ...\nexcept ImportError:\n    it = None",
    "conditional alias": "if __name__:\n    T = int\ndef it(a: T): ...",
    "twice": "def it(a): ...\ndef it(b): ...",
    "deleted": "T = int\ndel T\ndef it(a: T): ...",
    "loop": "for T in (int, str): ...\ndef it(a: T): ...",
    "walrus": "(T := int)\ndef it(a: T): ...",
    "global": "T = int\ndef change():\n    global T\n    T = str\nchange()\ndef it(a: T): ...",
    "star": "from math import *\ndef it(a: int): ...",
    "star alone": "from builtins import *\ndef it(a: float = pi): ...",
    "doc set": "def it(a): ...\nit.__doc__ = 'b'",
    "signature set": "def it(a): ...\nit.__signature__ = None",
    "init set": "class it:\n    def __init__(self, a): ...\nit.__init__ = lambda self, b: None",
    "init set in a function": "class it:\n    def __init__(self, a): ...\ndef f():\n    it.__init__ = print\nf()",
    "registered": "def keep(f): f.__doc__ = 'x'\ndef it(a): ...\nkeep(it)",
    "aliased and changed": "def it(a): ...\nfor f in (it,):\n    f.__doc__ = 'x'",
    "metaclass": "class M(type):\n    def __call__(cls, b): ...\nclass it(metaclass=M): ...",
    "inherited metaclass": "class M(type):\n    def __call__(cls, b): ...\nclass B(metaclass=M): ...\nclass it(B):\n"
    "    def __init__(self, a): ...",
    "new": "class it:\n    def __new__(cls, b): return object.__new__(cls)",
    "inherited new": "class B:\n    def __new__(cls, b): return object.__new__(cls)\nclass it(B):\n"
    "    def __init__(self, a): ...",
    "subclass hook": "class B:\n    def __init_subclass__(cls): cls.__init__ = print\nclass it(B):\n"
    "    def __init__(self, a): ...",
    "builtin base": "class it(int): ...",
    "exception": "class it(Exception): ...",
    "enum": "from enum import Enum\nclass it(Enum):\n    a = 1",
    "protocol": "from typing import Protocol\nclass it(Protocol): ...",
    "generic": "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass it(Generic[T]): ...",
    "two bases without init": "class A:\n    def __init__(self, a): ...\nclass B: ...\nclass it(B, A): ...",
    "init that is no function": "class it:\n    __init__ = print",
    "init of a condition": "class it:\n    if True:\n        def __init__(self, a): ...",
    "overload": "class it:\n    def __init__(self, a): ...\n    def __init__(self, b): ...",
    "class doc set": "class it:\n    __doc__ = 'a' + 'b'",
    "mangled": "class it:\n    def __init__(self, __a=1): ...",
    "class default": "class it:\n    SIZE = 3\n    def __init__(self, a=SIZE): ...",
    "other distribution": "from click import Option\ndef it(a: Option): ...",
    "called default": "def f(): return 3\ndef it(a=f()): ...",
    "function default": "def f(): ...\ndef it(a=f): ...",
    "class as a default": "class Own: ...\ndef it(a=Own): ...",
    "type as a default": "def it(a=int): ...",
    "enum default": "from enum import Enum\nclass E(Enum):\n    a = 1\ndef it(a: E = E.a): ...",
    "changed default": "SIZES = [1]\nSIZES.append(2)\ndef it(a=SIZES): ...",
    "module's own": "def it(a=__name__): ...",
    "decorated annotation": "def swap(c): return int\n@swap\nclass Own: ...\ndef it(a: Own): ...",
    "a tuple as an annotation": "def it(a: (int, str)): ...",
    "a union of none": "def it(a: None | None): ...",
    "text of a text": "def it(a: 'Unseen'): ...",
    "inner text of a builtin": "def it(a: Optional['int'] = None): ...",
    "inner text": "class Own: ...\ndef it(a: list['Own']): ...",
    "field": "from pydantic import Field\ndef it(a: Annotated[int, Field(gt=0)]): ...",
    "new type": "from typing import NewType\nT = NewType('T', int)\ndef it(a: T): ...",
    "long": f"def it(a={'-' * 3000}1): ...",
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_uncertain_signatures_are_not_read(name: str, tmp_path: Path, package: str) -> None:
    text = UNCERTAIN[name]
    write(tmp_path, package, module=text if "coding" in text else HEAD + text)
    assert read(f"{package}.module:it") is None


def test_builtins_are_not_targets_of_a_module(tmp_path: Path, package: str) -> None:
    write(tmp_path, package, module="")
    assert read(f"{package}.module:print") is None


@pytest.mark.parametrize(
    "target", ["nowhere_at_all:it", "nowhere_at_all.below:it", "__main__:it", "missing.py:it", "sys:exit", "math:cos"]
)
def test_modules_without_source(target: str) -> None:
    assert read(target) is None


def test_nested_attributes_are_not_read(tmp_path: Path, package: str) -> None:
    write(tmp_path, package, module="class Outer:\n    class Inner: ...")
    assert read(f"{package}.module:Outer.Inner") is None


def test_names_are_followed_within_the_package(tmp_path: Path, package: str) -> None:
    (tmp_path / package / "__init__.py").write_text(f"from .impl import it\nfrom {package} import common")
    write(
        tmp_path,
        package,
        impl=f"{HEAD}import {package}.common as c\nfrom . import common\nfrom .common import Base, Mode as M, RATE\n"
        "class it(Base):\n    def __init__(self, m: M, rate: float = RATE, n: common.Mode = 'b', o: c.Mode = 'a'): ...",
        common=f"{HEAD}Mode = Literal['a', 'b']\nRATE = 0.5\nclass Base:\n    def __init__(self, a: int): ...",
        other=f"from .impl import it\nfrom {package}.common import Base\nclass Derived(Base): 'Its own.'",
        touched="from .impl import it\nit.__doc__ = 'changed'",
    )
    for target in (f"{package}:it", f"{package}.impl:it", f"{package}.other:it", f"{package}.other:Derived"):
        check_same(*both(target))
    assert read(f"{package}.touched:it") is None
    assert read(f"{package}.other:Base") is not None


def test_circular_and_broken_imports_are_not_followed(tmp_path: Path, package: str) -> None:
    write(
        tmp_path, package, a="from .b import it", b="from .a import it", c="from ....d import it", e="from .f import g"
    )
    for target in ("a:it", "b:it", "c:it", "e:g"):
        assert read(f"{package}.{target}") is None


def test_reading_imports_nothing(tmp_path: Path, package: str) -> None:
    (tmp_path / package / "__init__.py").write_text("raise SystemExit")
    write(tmp_path, package, module="import nowhere\nraise SystemExit\ndef it(a: int = 1): 'It.'")
    found = read(f"{package}.module:it")
    assert found is not None
    assert [(param.name, param.type) for param in from_signature(found.target)] == [("a", int)]
    assert package not in sys.modules


def test_a_user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("def it(a: int = 1): 'It.'")
    check_same(*both("net.py:it"))
    check_same(*both(f"{tmp_path}/net.py:it"))
    Path("net.py").write_text("def it(a: float = 1.5, b: int = 2): 'Changed.'")
    found = read("net.py:it")
    assert found is not None
    assert [param.default for param in from_signature(found.target)] == [1.5, 2]


def test_relative_imports_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from .other import Mode\ndef it(a: Mode): ...")
    (tmp_path / "other.py").write_text("Mode = int")
    assert read(f"{tmp_path}/net.py:it") is None


def test_reading_emits_no_syntax_warnings(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = '\\d'\ndef it(a: int): assert (a, 'always')")
    assert read(f"{tmp_path}/net.py:it") is not None


def test_subclasses_of_torch_classes_are_read(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import Tensor, nn\nfrom torch.optim.lr_scheduler import LRScheduler\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, width: int, weight: Tensor | None = None, then: 'LRScheduler' = None): ...\n"
        "class Bare(nn.Module): ...\n"
        "class Like(torch.optim.Optimizer):\n    def __init__(self, params: list[nn.Parameter], lr: float = 1.0): ...\n"
        "class Unknown(nn.Linear):\n    def __init__(self, a: int): ...\n"
        "class Inherits(torch.optim.Optimizer): ...\n"
    )
    for name in ("Net", "Bare", "Like"):
        check_same(*both(f"{tmp_path}/net.py:{name}"))
    assert [read(f"{tmp_path}/net.py:{name}") for name in ("Unknown", "Inherits")] == [None, None]


@pytest.mark.parametrize("text", ["int", "list[int]", "Callable[[int], str]", "Literal['a']", "Unseen | None"])
def test_exact_types_allow_checking_values(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(f"{HEAD}from collections.abc import Callable\ndef it(a: {text}): ...")
    assert is_exact(from_signature(both(f"{tmp_path}/net.py:it")[0].target)[0].type)


@pytest.mark.parametrize("text", ["Own", "list[Own]", "Callable[[Own], str]", "Own | None", "Annotated[Own, 1]"])
def test_inexact_types_do_not_allow_checking_values(text: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        f"{HEAD}from collections.abc import Callable\nclass Own: ...\ndef it(a: {text}): ..."
    )
    assert not is_exact(from_signature(both(f"{tmp_path}/net.py:it")[0].target)[0].type)


# Entries


def entry(target: str, **fields: Any) -> Entry:
    return Entry(Component(fields.pop("kind", "model"), "x", target, **fields))


def test_an_entry_reads_without_importing(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def it(num_classes: int, a: int = 1):\n    'It.'\nraise SystemExit")
    found = entry(f"{tmp_path}/net.py:it")
    assert [(param.name, param.source, param.default) for param in found.params()] == [
        ("num_classes", "num_classes", REQUIRED),
        ("a", None, 1),
    ]
    assert found.params_unloaded() == found.params()
    assert (found.doc(), found.place()) == ("It.", f"{tmp_path}/net.py:1")
    assert found.source() == "def it(num_classes: int, a: int = 1):\n    'It.'\n"


def test_an_entry_imports_unreadable_targets(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import functools\ndef keep(f):\n    return functools.wraps(f)(lambda *a: f(*a))\n"
        "@keep\ndef it(a: int = 1):\n    'It.'\n"
    )
    found = entry(f"{tmp_path}/net.py:it")
    assert found.params_unloaded() is None
    assert [param.name for param in found.params()] == ["a"]
    assert (found.doc(), found.place()) == ("It.", f"{tmp_path}/net.py:4")
    assert found.source() == "@keep\ndef it(a: int = 1):\n    'It.'\n"


def test_loss_functions_and_fixed_arguments_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def it(predictions, targets, delta: float = 1.0): ...")
    assert [param.name for param in entry(f"{tmp_path}/net.py:it", kind="loss").params()] == ["delta"]
    assert [param.name for param in entry(f"{tmp_path}/net.py:it", args=("name",)).params()] == ["targets", "delta"]


# Generated signatures

TYPES = st.recursive(
    st.sampled_from(["int", "float", "bool", "str", "Path", "Any", "Own", "Literal['a', 1, None]", "dict[str, Any]"]),
    lambda inner: st.one_of(
        st.builds("list[{}]".format, inner),
        st.builds("dict[str, {}]".format, inner),
        st.builds("tuple[{}, ...]".format, inner),
        st.builds("tuple[{}, {}]".format, inner, inner),
        st.builds("Optional[{}]".format, inner),
        st.builds("({} | None)".format, inner),
        st.builds("Annotated[{}, Nested('loss')]".format, inner),
        st.builds("Callable[[{}, {}], {}]".format, inner, inner, inner),
    ),
    max_leaves=4,
)
LATER = st.builds("dict[str, {}]".format, st.sampled_from(["Unseen", "Unseen | None", "list[Unseen]"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)
OPTIONS = st.tuples(st.none() | TYPES | LATER, st.just(REQUIRED) | VALUES, st.text("abc .:'\\\"\n", max_size=20))


@st.composite
def signatures(draw: st.DrawFn) -> tuple[str, list[tuple[Any, Any, str]]]:
    """The parameters of a function as text, and their annotations, defaults and descriptions."""
    options = draw(st.lists(OPTIONS, max_size=5))
    split = draw(st.integers(0, len(options)))
    options[:split] = sorted(options[:split], key=lambda option: option[1] is not REQUIRED)
    words = [
        f"p{index}" + (f": {kind}" if kind else "") + ("" if default is REQUIRED else f" = {default!r}")
        for index, (kind, default, _) in enumerate(options)
    ]
    star = draw(st.sampled_from(["*", "*rest", "*rest: int"] if words[split:] else ["", "*rest"]))
    slash = draw(st.booleans()) and split > 0
    parts = [*words[:split], *(["/"] if slash else []), *([star] if star else []), *words[split:]]
    return ", ".join(parts + draw(st.sampled_from([[], ["**more"]]))), options


@given(signatures(), st.booleans(), st.sampled_from(["function", "class", "inherited"]))
def test_generated_signatures_equal_the_imported_ones(
    tmp_path_factory: pytest.TempPathFactory,
    signature: tuple[str, list[tuple[Any, Any, str]]],
    deferred: bool,
    form: str,
) -> None:
    text, options = signature
    lines = [HEAD if deferred else HEAD.partition("\n")[2], "from collections.abc import Callable", "class Own: ..."]
    doc = "\n".join(["It.", "", "Args:", *(f"    p{index}: {help!r}" for index, (_, _, help) in enumerate(options))])
    if form == "function":
        lines += [f"def it({text}):", f"    {doc!r}"]
    else:
        name = "it" if form == "class" else "Base"
        lines += [f"class {name}:", f"    {doc!r}", f"    def __init__(self{', ' if text else ''}{text}): ..."]
        lines += ["class it(Base):", "    'It.'"] if form == "inherited" else []
    file = tmp_path_factory.mktemp("generated") / "net.py"
    file.write_text("\n".join(lines), encoding="utf-8")
    if not deferred and "Unseen" in text:
        assert read(f"{file}:it") is None
        return
    found, target = both(f"{file}:it")
    check_same(found, target)
    for static, dynamic in zip(from_signature(found.target), from_signature(target), strict=True):
        if is_exact(static.type) and dynamic.default not in (REQUIRED, None):
            assert outcome(static, dynamic.default) == outcome(dynamic, dynamic.default)


def outcome(param: Any, value: Any) -> Any:
    """The converted value, or the error."""
    try:
        return convert(param, value, "x")
    except ValueError as error:
        return str(error)
