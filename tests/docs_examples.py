"""Executes the examples of README.md and of the pages under docs/, and compares their output with the pages.

`python tests/docs_examples.py --update [PAGE...]` writes the actual output into the pages instead; lines of ``...``
that shorten an output stay where they were.

How a page is read, fence by fence:

- ``console``: each line ``$ command`` is executed, the lines below it are its output: standard error, then standard
  output, as a terminal shows them. A line ``...`` stands for any lines. A command that fails is followed by
  ``$ echo $?``. An installation is only checked (`check_install`) and not executed, except for a package that the page
  itself wrote.
- ``python``: executed, in one namespace per page. Its output is in the ``text`` fence right below it.
- ``toml``: a run file; it is tried with ``wf run --dry-run``.
- Any fence right below a line that ends in a file's name in backquotes and a colon is written to that file.
- ``text`` elsewhere is a drawing and is left alone.

``<!-- about -->`` above a fence: the digits of its figures may differ between machines.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forkserver import ForkServer, Result

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
LANGUAGES = ("console", "python", "toml", "text", "csv")
INSTALLING = ("make", "pip", "git", "cd", ".", "python3", "torchrun", "sudo", "apt-get")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
ANY = "..."
TIMEOUT_SEC = 200  # a busy machine takes a multiple of the usual time


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a page import the files that it wrote, like `python` in their folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name, module in sys.modules.items() if _is_in(module, folder)]:
            del sys.modules[name]


def _is_in(module: Any, folder: Path) -> bool:
    return (file := getattr(module, "__file__", None)) is not None and Path(file).is_relative_to(folder)


@dataclass
class Fence:
    """One fenced block of a page."""

    language: str
    start: int
    """The index of its first line in the page, below the fence."""
    lines: list[str]
    file: str | None = None
    about: bool = False
    follows: bool = False
    """Nothing but blank lines between it and the fence above."""


@dataclass
class Outcome:
    """The output that a page shows, and the actual output."""

    what: str
    start: int
    """The index in the page of the first line that is shown."""
    shown: list[str]
    actual: list[str]
    about: bool = False
    wrong: str | None = None
    """What is wrong beside the output."""

    @property
    def agrees(self) -> bool:
        return agree(self.shown, self.actual, about=self.about)

    def explain(self) -> str:
        shown, actual = ([normalize(line) for line in lines] for lines in (self.shown, self.actual))
        lines = difflib.unified_diff(shown, actual, "shown", "came out", lineterm="")
        return "\n".join([f"line {self.start + 1}: {self.what}", *([self.wrong] if self.wrong else lines)])


def read_fences(text: str) -> list[Fence]:
    """The fenced blocks of a page."""
    fences: list[Fence] = []
    opened: Fence | None = None
    before: list[str] = []
    for number, line in enumerate(text.splitlines()):
        if opened is not None and line.strip() == "```":
            fences.append(opened)
            opened, before = None, []
        elif opened is not None:
            opened.lines.append(line)
        elif line.startswith("```"):
            last = next((text for text in reversed(before) if text.strip()), "")
            named = re.search(r"`([\w./-]+\.\w+)`:$", last)
            opened = Fence(line[3:].strip(), number + 1, [], named[1] if named else None, last == "<!-- about -->")
            opened.follows = bool(fences) and not last
        else:
            before.append(line)
    assert opened is None, f"a fence is not closed: line {opened.start}"
    return fences


@dataclass
class Reader:
    """Executes one page, in a new folder with a copy of examples/."""

    page: str
    folder: Path
    server: ForkServer
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__page__"})
    code: int = 0
    installed: Path | None = None

    def read(self) -> Iterator[Outcome]:
        """Execute the page; yields an outcome for each shown output."""
        shutil.copytree(ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        fences = read_fences((ROOT / self.page).read_text(encoding="utf-8"))
        for number, fence in enumerate(fences):
            following = fences[number + 1] if number + 1 < len(fences) else None
            if fence.language not in LANGUAGES:
                yield self._wrong(fence, f"unknown language '{fence.language}'; known: {', '.join(LANGUAGES)}")
            elif fence.file:
                (self.folder / fence.file).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / fence.file).write_text("\n".join(fence.lines) + "\n", encoding="utf-8")
            elif fence.language == "console":
                yield from self._console(fence)
            elif fence.language == "python":
                yield self._python(fence, following if following and following.follows else None)
            elif fence.language == "toml":
                yield self._run_file(fence)

    def _wrong(self, fence: Fence, wrong: str) -> Outcome:
        return Outcome(f"```{fence.language}", fence.start, [], [], wrong=wrong)

    def _console(self, fence: Fence) -> Iterator[Outcome]:
        starts = [number for number, line in enumerate(fence.lines) if line.startswith("$ ")]
        if not starts or starts[0]:
            yield self._wrong(fence, "the first line of a console fence is '$ COMMAND'")
            return
        for start, end in zip(starts, [*starts[1:], len(fence.lines)], strict=True):
            command, body = fence.lines[start][2:], start + 1
            while command.endswith("\\"):
                command, body = command[:-1] + fence.lines[body].strip(), body + 1
            shown = fence.lines[body:end]
            outcome = Outcome(command, fence.start + body, shown, shown, fence.about)
            failed = self.code
            try:
                output = self._command(command)
            except ValueError as error:
                outcome.wrong = str(error)
            else:
                outcome.actual = shown if output is None else clean(output, self.folder).splitlines()
            if failed and not command.startswith("echo $?"):
                outcome.wrong = f"the command before failed with code {failed}: show it with $ echo $?"
            yield outcome
        if self.code:
            yield self._wrong(fence, f"the last command failed with code {self.code}: show it with $ echo $?")

    def _command(self, command: str) -> str | None:
        """Execute a command; returns its output as on a terminal, None if it was only checked."""
        if command == "echo $?":
            code, self.code = self.code, 0
            return f"{code}\n"
        words = shlex.split(command)
        if "fashion-mnist" in words and not FASHION_MNIST.is_dir():
            return None
        if words[:2] == ["pip", "install"] and words[2].startswith("./") and (self.folder / words[2]).is_dir():
            return self._install(words[2])
        if words[:2] == ["pip", "uninstall"]:
            shutil.rmtree(self.folder / ".site", ignore_errors=True)
            self.installed = None
            return None
        if words[0] in INSTALLING:
            check_install(words)
            return None
        result = self._wf(command) if words[0] == "wf" else self._shell(command)
        self.code = result.code
        return result.stderr + result.stdout

    def _wf(self, command: str) -> Result:
        match = re.match(r"(.*?) ([|>]) (.*)", command)
        words = shlex.split(match[1] if match else command)[1:]
        result = (
            self.server.run(words, self.folder, self._environment(), TIMEOUT_SEC)
            if not self.installed
            else self._in_new_process(words)
        )
        if match and match[2] == ">":
            (self.folder / match[3]).write_text(result.stdout, encoding="utf-8")
            return Result(result.code, "", result.stderr)
        if match:
            piped = self._shell(match[3], result.stdout)
            return Result(result.code or piped.code, piped.stdout, result.stderr + piped.stderr)
        return result

    def _in_new_process(self, words: list[str]) -> Result:
        """Run it in a new process, with the packages that the page has installed."""
        return self._done([sys.executable, "-P", "-m", "wf_cli", *words])

    def _shell(self, command: str, text: str | None = None) -> Result:
        return self._done(["bash", "-c", command], text)

    def _done(self, command: list[str], text: str | None = None) -> Result:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), input=text or "", capture_output=True, text=True
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def _environment(self) -> dict[str, str]:
        plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        plain["XDG_CONFIG_HOME"] = str(self.folder / ".config")  # without the user's settings
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        own = {"PYTHONPATH": str(self.installed)} if self.installed else {}
        return {
            **{name: os.environ[name] for name in os.environ if name != "FORCE_COLOR"},
            **plain,
            "PATH": path,
            **own,
        }

    def _install(self, folder: str) -> None:
        """pip install, into a folder beside the environment."""
        self.installed = self.folder / ".site"
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
        done = self._done([sys.executable, "-m", "pip", "install", *options, "--target", str(self.installed), folder])
        if done.code:
            raise ValueError(done.stderr)

    def _python(self, fence: Fence, below: Fence | None) -> Outcome:
        below = below if below and below.language == "text" else None
        printed = io.StringIO()
        outcome = Outcome(fence.lines[0], fence.start, [], [], fence.about)
        source = "\n" * fence.start + "\n".join(fence.lines)
        try:
            with (
                contextlib.chdir(self.folder),
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(io.StringIO()),
                importable(self.folder),
            ):
                exec(compile(source, str(ROOT / self.page), "exec"), self.namespace)
        except Exception as error:
            outcome.wrong = f"{type(error).__name__}: {error}"
            return outcome
        outcome.actual = clean(printed.getvalue(), self.folder).splitlines()
        if below is not None:
            outcome.start, outcome.shown = below.start, below.lines
        elif outcome.actual:
            outcome.wrong = f"it prints, and no text fence below shows it: {outcome.actual}"
        return outcome

    def _run_file(self, fence: Fence) -> Outcome:
        file = self.folder / "page.toml"
        file.write_text("\n".join(fence.lines), encoding="utf-8")
        result = self.server.run(["run", "page.toml", "--dry-run"], self.folder, self._environment(), TIMEOUT_SEC)
        outcome = Outcome("a run file", fence.start, fence.lines, fence.lines)
        if result.code:
            outcome.wrong = result.stderr
        return outcome


def check_install(words: Sequence[str]) -> None:
    """Check a command that installs something: its targets, files and folders must exist.

    Raises:
        ValueError: If one does not exist.
    """
    if words[0] == "make":
        targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        missing = [
            word for word in words[1:] if "=" not in word and word not in (targets[1].split() if targets else ())
        ]
    elif "pip" in words:
        named = [word for word in words if word.endswith(".txt") or word.startswith("./")]
        missing = [word for word in named if not (ROOT / word.partition("[")[0]).exists()]
    else:
        missing = []
    if missing:
        raise ValueError(f"{' '.join(words)}: there is no {', '.join(missing)}")


_VOLATILE = (
    (re.compile(r"\d{8}-\d{6}(?=-)"), "DATE-TIME"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), "DATE"),
    (re.compile(r"(?<![\w.])\d+(\.\d+)? ?(ms|s|min)\b"), "TIME"),
    (re.compile(r"\d[\d,]*(\.\d+)?(?= (tokens|samples)/s\b)"), "RATE"),
    (re.compile(r"(?<=step )[\d,]+(?=: (max_time|wf resume))"), "STEP"),  # where a time limit ends a run
    (re.compile(r"(?<=TIME) \(\d+:\d\d:\d\d\)"), ""),  # pytest prints minutes like that, too
    (re.compile(r'("import_ms"|"elapsed_sec"): [\d.e+-]+'), r"\1: TIME"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "SHA256"),
    (re.compile(r"(?<=\.py:)\d+\b"), "LINE"),
    (re.compile(r"line \d+, in "), "line LINE, in "),
    (re.compile(r"""(['"](?:wf|torch|python)['"]: )['"][^'"]*['"]"""), r"\1VERSION"),
)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d\d)?(?!\w)")


def clean(text: str, folder: Path) -> str:
    """An output without paths of this machine: the page's files by name, installed ones after dots."""
    for place in {str(folder.resolve()), str(folder)}:
        text = text.replace(f"{place}/", "")
    return re.sub(r"[^\s'\"]*/(wf(?:_\w+)?/[\w/]+\.py)", r".../\1", text)


def normalize(line: str) -> str:
    """A line without dates, durations and the like; repeated blanks become one if something was removed."""
    plain = line.rstrip()
    for pattern, stand_in in _VOLATILE:
        plain = pattern.sub(stand_in, plain)
    return plain if plain == line.rstrip() else re.sub(r"\s+", " ", plain)


def same(shown: str, actual: str, *, about: bool) -> bool:
    """Whether two lines agree: equal text, and numbers equal to a unit in their last place or 1 part in 100,000."""
    shown, actual = normalize(shown), normalize(actual)
    if ANY in shown and ANY not in actual:
        return re.fullmatch(".*".join(map(re.escape, shown.split(ANY))), actual) is not None
    if about:
        shown, actual = (re.sub(r"\s+", " ", line) for line in (shown, actual))
    if _NUMBER.sub("#", shown) != _NUMBER.sub("#", actual):
        return False
    return all(
        _close(one, other, about=about)
        for one, other in zip(_NUMBER.findall(shown), _NUMBER.findall(actual), strict=True)
    )


def _close(shown: str, actual: str, *, about: bool) -> bool:
    if "." not in shown and "e" not in shown:
        return shown == actual
    one, other = float(shown.replace(",", "")), float(actual.replace(",", ""))
    if about:
        return abs(one - other) <= 0.25 * max(abs(one), abs(other)) + 0.03
    mantissa, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(one - other) <= 1.01 * max(unit, 1e-5 * abs(one))


def agree(shown: Sequence[str], actual: Sequence[str], *, about: bool) -> bool:
    """Whether an output agrees with the shown one; a line of dots stands for any lines, even none."""
    pieces, rest = _pieces(_trim(shown)), _trim(actual)
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(first) == len(rest) and _begins(first, rest, about=about)
    if len(first) + len(last) > len(rest) or not _begins(first, rest, about=about):
        return False
    end = len(rest) - len(last)
    if not _begins(last, rest[end:], about=about):
        return False
    rest = rest[len(first) : end]
    for piece in pieces[1:-1]:
        found = next((n for n in range(len(rest) + 1) if _begins(piece, rest[n:], about=about)), None)
        if found is None:
            return False
        rest = rest[found + len(piece) :]
    return True


def _begins(piece: Sequence[str], actual: Sequence[str], *, about: bool) -> bool:
    return len(piece) <= len(actual) and all(
        same(one, other, about=about) for one, other in zip(piece, actual, strict=False)
    )


def _pieces(shown: Sequence[str]) -> list[list[str]]:
    """The lines before, between and after lines of dots."""
    pieces: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == ANY:
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def _trim(lines: Sequence[str]) -> list[str]:
    """The lines without blank lines at the ends."""
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    while kept and not kept[0].strip():
        kept.pop(0)
    return kept


def shorten(shown: Sequence[str], actual: Sequence[str]) -> list[str]:
    """The new output, shortened like the old one: each piece between dots is searched in the new one."""
    pieces, actual = [_trim(piece) for piece in _pieces(shown)], _trim(actual)
    if len(pieces) == 1 or not actual:
        return actual
    result: list[str] = []
    position = 0
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        if number:
            result.append(ANY)
        if piece and position < len(actual):
            likely = len(actual) - len(piece) if is_last else position
            start = _nearest(piece[0], actual, position, likely) if number else 0
            end = len(actual) - 1 if is_last else _nearest(piece[-1], actual, start, start + len(piece) - 1)
            result += actual[start : end + 1]
            position = end + 1
    return result


def _nearest(line: str, actual: Sequence[str], start: int, likely: int) -> int:
    """The index, from `start` on, of the line most similar to `line`; among equal ones the nearest to `likely`."""

    def plain(text: str) -> str:
        return _NUMBER.sub("#", normalize(text))

    def likeness(index: int) -> tuple[float, int]:
        ratio = difflib.SequenceMatcher(None, plain(line), plain(actual[index]), autojunk=False).ratio()
        return ratio, -abs(index - likely)

    return max(range(start, len(actual)), key=likeness)


def update(page: str, server: ForkServer) -> list[str]:
    """Write the actual output into a page; returns errors other than different outputs."""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = list(Reader(page, Path(folder), server).read())
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for outcome in reversed(outcomes):
        if outcome.wrong is None and not outcome.agrees:
            new = shorten(outcome.shown, outcome.actual)
            lines[outcome.start : outcome.start + len(outcome.shown)] = new
            print(f"{page}:{outcome.start + 1}: {outcome.what}")
    (ROOT / page).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [f"{page}: {outcome.explain()}" for outcome in outcomes if outcome.wrong]


def main(args: Sequence[str]) -> None:
    """The command line."""
    if not args or args[0] != "--update":
        sys.exit(__doc__)
    state = str(Path(tempfile.gettempdir()) / f"wf-tests-state-{os.getuid()}")  # without the user's settings
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", NO_COLOR="1", WF_STATE_DIR=state)
    server = ForkServer()
    wrong = [line for page in args[1:] or PAGES for line in update(page, server)]
    server.close()
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main(sys.argv[1:])
