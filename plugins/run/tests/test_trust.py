"""Trust in the code of a run directory: finding it, allowing it, and loading nothing else."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wf import Component, Nested
from wf.discovery.guard import Guard, UntrustedError
from wf.discovery.plugins import Plugin
from wf.errors import UsageError, WfError
from wf.registry import Registry
from wf_building.builder import Builder
from wf_run.api import reopen
from wf_run.runfiles.reading import read
from wf_run.runfiles.runfile import RunFile, dump, folders_of
from wf_run.trust.code import RunCode, code_of
from wf_run.trust.files import directory_of
from wf_run.trust.guards import guard_for
from wf_run.trust.records import record

CODE = """
import builtins
from typing import Annotated, Any
from wf import Nested

if not hasattr(builtins, "RAN"):
    builtins.RAN = set()
builtins.RAN.add(__file__)


Several = Annotated[list[Any], Nested("model")]


def make(inner: Annotated[Any, Nested("model")] = None, several: Several = (), text: str = ""):
    return inner, several
"""


def registered(
    inner: Annotated[Any, Nested("model")] = None, several: Annotated[list[Any], Nested("model")] = (), text: str = ""
) -> Any:
    """A registered component that takes others."""
    return inner, several


def plugin(*components: Component) -> Plugin:
    return Plugin(
        name="acme", distribution="acme", version="1", module="acme.plugin", status="ok", components=components
    )


def with_old_name(newer: Annotated[Any, Nested("model")] = None) -> Any:
    """A registered component with an option that had another name."""
    return newer


REGISTRY = Registry(
    [
        plugin(
            Component("model", "holder", f"{__name__}:registered"),
            Component("model", "renamed", with_old_name, deprecated_params={"older": "newer"}),
            Component("loss", "plain", "acme.losses:plain"),
        )
    ]
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WF_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("WF_TRUST", raising=False)
    return tmp_path / "state"


def run_directory(folder: Path, document: RunFile, **code: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(dump(document))
    (folder / "manifest.json").write_text('{"status": "done"}')
    for name, text in code.items():
        (folder / "code").mkdir(exist_ok=True)
        (folder / "code" / f"{name}.py").write_text(text)
    return folder


def look(place: Path) -> RunCode:
    return code_of(place, [read(place / "run.toml")], REGISTRY)


def guard(place: Path, **more: Any) -> Guard:
    return guard_for(place, [read(place / "run.toml")], REGISTRY, **more)


def names(found: RunCode) -> list[str]:
    return sorted(piece.name for piece in found.pieces)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"use": "holder"}, []),
        ({"use": "holder", "text": "a:b", "inner": {"use": "holder", "text": "x.py:Y"}}, []),
        ({"use": "acme.losses:plain"}, []),
        ({"use": "subprocess:Popen", "args": ["id"]}, ["subprocess:Popen"]),
        ({"use": "evil://x"}, ["evil://x"]),
        ({"use": "evil.py:H"}, ["evil.py:H"]),
        ({"use": "code/evil.py:H"}, ["code/evil.py:H"]),
        ({"use": "../got/code/evil.py:H"}, ["../got/code/evil.py:H"]),
        ({"use": "gone.py:H"}, []),
        ({"use": "holder", "inner": "evil.py:H"}, ["evil.py:H"]),
        ({"use": "holder", "inner": {"use": "evil.py:H"}}, ["evil.py:H"]),
        ({"use": "holder", "several": ["os:abort", {"use": "evil.py:H"}]}, ["evil.py:H", "os:abort"]),
        ({"use": "holder", "inner": {"use": "holder", "inner": "evil.py:H"}}, ["evil.py:H"]),
        ({"use": "renamed", "older": "evil.py:H"}, ["evil.py:H"]),
        ({"use": "unknown", "deep": {"deeper": [{"use": "evil.py:H"}]}}, ["evil.py:H"]),
        ({"use": "evil.py:H", "inner": "os.path:join"}, ["evil.py:H", "os.path:join"]),
        ({"use": "live os:PathLike"}, []),
    ],
)
def test_code_named_anywhere_in_a_run_file_is_found(tmp_path: Path, table: dict[str, Any], found: list[str]) -> None:
    place = run_directory(tmp_path / "got", {"model": table}, evil="")
    assert names(look(place)) == found


def test_plugins_that_are_not_installed_count_as_code(tmp_path: Path) -> None:
    place = run_directory(tmp_path / "got", {"plugins": ["acme.plugin", "acme.other", "evil.py"]}, evil="")
    assert names(look(place)) == sorted(["acme.other", str(place / "code" / "evil.py")])


def test_untrusted_code_is_listed_with_checksum_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = run_directory(tmp_path / "got", {"model": {"use": "evil.py:H"}, "loss": {"use": "os:abort"}}, evil="x = 1")
    with pytest.raises(UntrustedError) as refused:
        guard(place)
    assert refused.value.exit_code == 2
    checksum = refused.value.checksum
    words = ("evil.py:H", "os:abort", "code/evil.py", look(place).pieces[1].sha256, f"--trust {checksum}", "WF_TRUST")
    assert [word for word in words if word not in str(refused.value)] == []
    assert guard(place, trust=checksum).targets == {"os:abort"}
    assert guard(place, trust=["0" * 64, checksum.upper()])
    monkeypatch.setenv("WF_TRUST", f"{'1' * 64}, {checksum}")
    assert guard(place)
    monkeypatch.setenv("WF_TRUST", "yes")
    with pytest.raises(UsageError, match="WF_TRUST 'yes' is not a SHA-256"):
        guard(place)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda place: (place / "code" / "mine.py").write_text("x = 2"),
    "a file beside": lambda place: (place / "code" / "torch.py").write_text(""),
    "compiled code": lambda place: py_compile.compile(str(place / "code" / "mine.py")),
    "a target": lambda place: _edit(place, "mine.py:H", "mine.py:G"),
    "an option": lambda place: _edit(place, '"one"', '"two"'),
    "another component": lambda place: _edit(place, "[model]", '[loss]\nuse = "os:abort"\n[model]'),
    "a plugin": lambda place: _edit(place, "[model]", 'plugins = ["antigravity"]\n[model]'),
}


def _edit(place: Path, old: str, new: str) -> None:
    file = place / "run.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize("change", CHANGES)
def test_a_local_run_is_trusted_until_its_code_changes(tmp_path: Path, change: str) -> None:
    place = run_directory(tmp_path / "got", {"model": {"use": "mine.py:H", "text": "one"}}, mine="x = 1")
    record(place, [read(place / "run.toml")], REGISTRY)
    checksum = look(place).checksum
    moved = shutil.copytree(place, tmp_path / "elsewhere" / "copied")
    assert guard(place)
    assert guard(moved)
    CHANGES[change](place)
    for trust in ((), checksum):
        with pytest.raises(UntrustedError):
            guard(place, trust=trust)
    assert guard(moved)


def test_the_users_plugin_may_be_edited_but_not_replaced_by_another_file(tmp_path: Path) -> None:
    (tmp_path / "plug.py").write_text("x = 1")
    place = run_directory(tmp_path / "runs" / "got", {"plugins": ["plug.py"]}, plug="x = 1")
    record(place, [read(place / "run.toml")], REGISTRY)
    (tmp_path / "plug.py").write_text("x = 2")
    assert guard(place)
    (tmp_path / "clone").mkdir()
    os.chdir(tmp_path / "clone")
    assert guard(place)  # the copy in code/
    (tmp_path / "clone" / "plug.py").write_text("x = 3")
    with pytest.raises(UntrustedError, match=r"clone/plug\.py"):
        guard(place)


def test_code_named_on_the_command_line_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1")
    document: RunFile = {"model": {"use": "/old/net.py:H"}, "loss": {"use": "os:abort"}}
    place = run_directory(tmp_path / "got", document, net="x = 1")
    line = {"model": {"use": "net.py:H"}, "loss": {"use": "os:abort"}}
    assert guard(place, line=line).targets == {"os:abort"}
    assert guard(place, line={"hook": [{"use": "+net.py:H"}, {"use": "set:os:abort"}]})
    with pytest.raises(UntrustedError, match="os:abort"):
        guard(place, line={"model": {"use": "net.py:H"}})
    (place / "code" / "more.py").write_text("x = 2")
    with pytest.raises(UntrustedError, match=r"beside +code/more\.py"):
        guard(place, line=line)
    (place / "code" / "more.py").unlink()
    (tmp_path / "net.py").write_text("x = 2")
    with pytest.raises(UntrustedError, match=r"net\.py"):
        guard(place, line=line)


def test_links_and_pipes_among_the_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1")
    place = run_directory(tmp_path / "got", {"model": {"use": "evil.py:H"}}, other="")
    odd: list[Callable[[Path], object]] = [lambda file: file.symlink_to(tmp_path / "mine.py"), os.mkfifo]
    for make in odd:
        make(place / "code" / "evil.py")
        with pytest.raises(UsageError, match=r"evil\.py is not a plain file"):
            guard(place)
        (place / "code" / "evil.py").unlink()
    shutil.move(place / "code", tmp_path / "real")
    (place / "code").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="code is not a plain file or folder"):
        look_with_other(place)


def look_with_other(place: Path) -> RunCode:
    _edit(place, "evil.py:H", "other.py:H")
    return look(place)


@pytest.mark.parametrize("damage", ["", "null", "[1]", '{"sha256": "x"}', "[" * 100_000, "\xff"])
def test_a_damaged_trust_record_is_reported_and_ignored(tmp_path: Path, state: Path, damage: str) -> None:
    place = run_directory(tmp_path / "got", {"model": {"use": "mine.py:H"}}, mine="x = 1")
    record(place, [read(place / "run.toml")], REGISTRY)
    [file] = (state / "runs").iterdir()
    file.write_bytes(damage.encode("latin-1"))
    with pytest.raises(UntrustedError, match="damaged and ignored"):
        guard(place)
    record(place, [read(place / "run.toml")], REGISTRY)
    assert guard(place)


def test_an_unusable_state_folder_gives_a_warning(
    tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = run_directory(tmp_path / "got", {"model": {"use": "mine.py:H"}}, mine="x = 1")
    state.write_text("a file")
    record(place, [read(place / "run.toml")], REGISTRY)
    assert "could not be recorded that the code in" in caplog.text
    with pytest.raises(UntrustedError, match="cannot be read and are ignored"):
        guard(place)


def test_the_number_of_trust_records_is_limited(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wf_run.trust.records.MAX_RECORDS", 3)
    for number in range(6):
        place = run_directory(tmp_path / str(number), {"model": {"use": f"os:a{number}"}})
        record(place, [read(place / "run.toml")], REGISTRY)
        os.utime(next(iter((state / "runs").glob("*.json"))), None)
    assert len(list((state / "runs").iterdir())) == 3
    plain = run_directory(tmp_path / "plain", {"model": {"use": "holder"}})
    record(plain, [read(plain / "run.toml")], REGISTRY)  # a run of registered components only is not recorded
    assert len(list((state / "runs").iterdir())) == 3


def test_the_checked_bytes_are_the_executed_bytes(tmp_path: Path) -> None:
    """A file is replaced after the check, and stale bytecode beside it pretends to belong to it."""
    place = run_directory(tmp_path / "got", {"model": {"use": "net.py:make"}}, net="make = dict")
    file = place / "code" / "net.py"
    allowed = guard(place, trust=look(place).checksum)
    stamp = file.stat()
    file.write_text("make = list")
    py_compile.compile(str(file))
    file.write_text("make = dict")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    os.utime(next((place / "code").glob("__pycache__/*")), ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    registry = REGISTRY.guarded(allowed)
    assert Builder(registry, folders=folders_of(place / "run.toml")).build("model", "net.py:make").value == {}
    file.write_text("make = set ")
    with pytest.raises(UntrustedError, match="not allowed to run"):
        Builder(registry, folders=folders_of(place / "run.toml")).build("model", "net.py:make")
    with pytest.raises(UntrustedError, match="os:abort"):
        registry.find("model", "os:abort").load()


def test_a_manifest_marks_the_run_directory_of_a_run_file(tmp_path: Path) -> None:
    place = run_directory(tmp_path / "got", {})
    assert directory_of(place / "run.toml") == directory_of(place / "other.toml") == place
    (place / "manifest.json").write_text('{"name": "a web page", "icons": []}')
    assert directory_of(place / "run.toml") is None
    (place / "manifest.json").write_text("{")
    assert directory_of(place / "run.toml") == place
    (tmp_path / "cmp" / "row").mkdir(parents=True)
    (tmp_path / "cmp" / "manifest.json").write_text('{"kind": "comparison"}')
    assert directory_of(tmp_path / "cmp" / "row" / "run.toml") == tmp_path / "cmp" / "row"
    assert directory_of(tmp_path / "exp.toml") is None


def test_python_functions_check_trust_too(tmp_path: Path) -> None:
    import wf

    place = run_directory(tmp_path / "got", {"model": {"use": "evil.py:Net"}}, evil="raise SystemExit(7)")
    for open_it in (
        lambda: wf.load_model(place),
        lambda: reopen(place, None),
        lambda: reopen(place, None, registry=REGISTRY),
        lambda: wf.build(place / "run.toml"),
        lambda: wf.run(place / "run.toml", trust="0" * 64),
    ):
        with pytest.raises(UntrustedError):
            open_it()
    with pytest.raises(WfError, match="could not be loaded\n  SystemExit: 7"):
        wf.build(place / "run.toml", trust=look(place).checksum, save=False)


USES = st.sampled_from(["holder", "a.py:make", "b.py:make", "code/a.py:make", "os.path:join", "unknown"])


def _tables(use: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        options = {"inner": inner, "several": st.lists(inner, max_size=2), "text": st.sampled_from(["", "c.py:make"])}
        return st.fixed_dictionaries({"use": use}, optional=options)

    return st.recursive(use, larger, max_leaves=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(tables=st.lists(_tables(USES), max_size=3))
def test_all_loaded_code_was_found_by_the_check(tables: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    import builtins

    place = tmp_path_factory.mktemp("any") / "got"
    document: RunFile = {"metric": [table if isinstance(table, dict) else {"use": table} for table in tables]}
    run_directory(place, document, a=CODE, b=CODE, c=CODE)
    ran: set[str] = set()
    builtins.RAN = ran  # type: ignore[attr-defined]  # the executed files add themselves here
    found = look(place)
    expected = {name for name in ("a", "b") if f"{name}.py:make" in json.dumps(tables)}
    assert {piece.file.stem for piece in found.pieces if piece.file} >= expected
    assert ran == set()
    if not found.pieces:
        return
    with pytest.raises(UntrustedError):
        guard(place)
    for allowed, may_run in ((Guard(place="got"), False), (guard(place, trust=found.checksum), True)):
        builder = Builder(REGISTRY.guarded(allowed), folders=folders_of(place / "run.toml"))
        for table in document["metric"]:
            try:
                builder.build("model", table)
            except UntrustedError:
                assert not may_run
            except (WfError, TypeError):
                pass
        assert may_run or not ran
    assert ran <= {str(piece.file) for piece in found.pieces}


@pytest.fixture(autouse=True)
def forget_files() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("wf_file_")]:
        with suppress(KeyError):
            del sys.modules[name]
