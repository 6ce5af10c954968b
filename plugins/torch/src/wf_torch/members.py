"""A class of torch as a member of a catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from wf.errors import UsageError
from wf_catalogues import members as foreign


class Member(foreign.Member):
    """One class of torch, whose descriptions of options repeat their defaults."""

    def descriptions(self) -> dict[str, str]:
        """torch's descriptions of its parameters, as sentences."""
        return {name: _sentence(text) for name, text in super().descriptions().items()}


def made(owner: str, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A component of torch.

    Raises:
        UsageError: When it refuses a value.
    """
    try:
        return make(*args, **options)
    except UsageError as error:
        raise UsageError(f"{owner}: {error}") from error
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(f"{owner}: {error}") from error


def _sentence(text: str) -> str:
    """A description without the default, from a capital to a full stop."""
    text = re.sub(r"\s*\([Dd]efault: [^()]*(\([^()]*\))?[^()]*\)|\s*Default: \S+$", "", text).strip(" .")
    return f"{text[:1].upper()}{text[1:]}."
