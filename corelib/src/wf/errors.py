"""The errors that a user may see, each with its exit code.

A message says what was wrong, what was available and what to do next. The command line prints
codes 2 to 5 as one message without a traceback; everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class WfError(Exception):
    """Base of every error that wf raises on purpose."""

    exit_code = 1


class UsageError(WfError, ValueError):
    """An unknown name, option or value, or a combination that does not work."""

    exit_code = 2


class PluginError(WfError):
    """A plugin that was needed could not be loaded."""

    exit_code = 3


class DataError(WfError, ValueError):
    """Data that is missing or invalid."""

    exit_code = 4


class SaveError(DataError):
    """A checkpoint or a record of the run that could not be written to the disk."""


class NothingSavedError(DataError):
    """The run ended before its first checkpoint."""


class DivergedError(WfError):
    """A loss or gradient that is not finite."""

    exit_code = 5


class GoBack(DivergedError):  # noqa: N818 - named after its request
    """Raised by a hook to continue from the newest checkpoint; without a checkpoint the run ends with this error.

    Of several processes all must raise it together: see `Loop.agree`.

    Args:
        message: The reason.
        then: Called when the checkpoint has been loaded, with the number of rollbacks since that checkpoint was made,
            this one included. What it returns is added to the record in `Loop.rollbacks`.
    """

    def __init__(self, message: str, then: Callable[[int], Mapping[str, Any]] = lambda _: {}) -> None:
        super().__init__(message)
        self.then = then


class InterruptedRun(WfError):  # noqa: N818 - named for what happened to the run
    """The run was stopped by a signal, after a checkpoint was committed."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class OtherFailedError(WfError):
    """Another process of the run ended with an error, and so this one ends.

    Args:
        message: The process, and its message.
        exit_code: The exit code of the other process.
        status: The manifest's word for how the run ended.
    """

    def __init__(self, message: str, exit_code: int = 1, status: str = "failed") -> None:
        super().__init__(message)
        self.exit_code, self.status = exit_code, status


SYNONYMS: dict[str, tuple[str, ...]] = {
    "acc": ("accuracy",),
    "bs": ("batch-size",),
    "criterion": ("loss",),
    "dev": ("validation",),
    "eval": ("validation", "evaluate"),
    "fit": ("run",),
    "gpu": ("cuda",),
    "info": ("show",),
    "learning-rate": ("lr",),
    "ls": ("list",),
    "max-epochs": ("epochs",),
    "max-steps": ("steps",),
    "n-epochs": ("epochs",),
    "num-epochs": ("epochs",),
    "num-steps": ("steps",),
    "num-workers": ("workers",),
    "plugins": ("list-plugins",),
    "test": ("evaluate",),
    "train": ("run",),
    "val": ("validation",),
    "valid": ("validation",),
    "wd": ("weight-decay",),
}
"""Words from other tools, and their names here; the left side as `plain_word` writes it."""


def closest(word: str, candidates: Iterable[str]) -> list[str]:
    """The at most three candidates most like `word`, best first, without regard to case or `-` against `_`.

    Other tools' words come first: ``val_loss`` for ``validation/loss``.
    """
    import difflib  # 5 ms, and only on the way to an error

    plain = {plain_word(name).replace("/", "-"): name for name in candidates}
    typed = plain_word(word).replace("/", "-")
    said = [key for key in _translations(typed) if key in plain]
    matches = difflib.get_close_matches(typed, plain, n=3, cutoff=0.6)
    prefixed = [key for key in plain if len(word) >= 2 and key.startswith(typed)]
    return [plain[key] for key in dict.fromkeys([*said, *matches, *sorted(prefixed)])][:3]


def _translations(word: str) -> list[str]:
    """The words that `word`, as a whole or in parts, may mean."""
    parts = [SYNONYMS.get(part, (part,))[0] for part in word.split("-")]
    return [*SYNONYMS.get(word, ()), "-".join(parts)]


def plain_word(name: str) -> str:
    """A name without regard to case and to ``_`` for ``-``."""
    return name.strip().lower().replace("_", "-")


def article(word: str) -> str:
    """The indefinite article for a word."""
    return "an" if word[:1] in tuple("aeiou") else "a"


def unknown(
    what: str,
    word: str,
    candidates: Iterable[str],
    hint: str = "",
    *,
    of: str = "",
    also: Iterable[str] = (),
    first: Iterable[str] = (),
) -> str:
    """The message for an unknown word, with the closest known ones first and a hint.

    Args:
        what: The kind of name that was expected: ``loss``, ``option``.
        word: The word.
        candidates: The names that are available.
        hint: Advice, on a line of its own.
        of: The owner of the word: ``loss 'focal'``.
        also: Names that may be suggested but are not listed, such as aliases.
        first: Names that are suggested before those that look like the word.
    """
    parts = [f"unknown {what} '{word}'{f' of {of}' if of else ''}", *_choices(word, candidates, also, first)]
    if hint:
        parts.append(hint)
    return "\n  ".join(parts)


def lacking(what: str, word: str, there: Iterable[str]) -> str:
    """The message for a name of the training data that other data do not have, with the closest names there.

    Args:
        what: The kind of name: ``column``.
        word: The name.
        there: The names that the data have.
    """
    return "\n  ".join([f"there is no {what} '{word}', which the run was trained with", *_choices(word, there)])


def _choices(word: str, candidates: Iterable[str], also: Iterable[str] = (), first: Iterable[str] = ()) -> list[str]:
    """The closest names, and all names."""
    names = sorted(set(candidates))
    near = list(dict.fromkeys([*first, *closest(word, [*names, *also])]))[:3]
    parts = []
    if near:
        parts.append(f"did you mean {' or '.join(repr(name) for name in near)}?")
    if names:
        listed = [*near, *(name for name in names if name not in near)]
        more = f", ... ({len(listed)} in all)" if len(listed) > 24 else ""
        parts.append(f"available: {', '.join(listed[:24])}{more}")
    return parts
