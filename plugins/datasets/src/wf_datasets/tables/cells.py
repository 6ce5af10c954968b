"""Cells of a table as numbers, and descriptions of cells that are not numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

BOOLEANS = {"true": 1.0, "false": 0.0}
MISSING = dict.fromkeys(("", "na", "n/a", "nan", "+nan", "-nan", "null", "none", "?"), math.nan)
_INFINITE = dict.fromkeys(("inf", "+inf", "infinity", "+infinity"), math.inf)
_INFINITE |= dict.fromkeys(("-inf", "-infinity"), -math.inf)
_WORDS = BOOLEANS | MISSING | _INFINITE
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


def number(cell: str) -> float | None:
    """The number in a cell without blanks around it: nan if missing, None for anything else.

    It is stricter than `float`, which takes ``1_2`` for 12 and the digits of every script.
    """
    if _NUMBER.match(cell):
        return float(cell)
    return _WORDS.get(cell.lower())


def number_with_comma(cell: str) -> float | None:
    """The same for numbers with a decimal comma; a number with a point gives None."""
    return None if "." in cell else number(cell.replace(",", ".", 1))


def has_decimal_comma(cells: Iterable[str]) -> bool:
    """Whether all cells are numbers with a decimal comma, at least one of them unambiguously.

    ``1,234`` is ambiguous (a thousands separator), ``0,234``, ``1234,5`` and ``1,2`` are not.
    """
    certain = False
    for cell in cells:
        if number_with_comma(cell) is None:
            return False
        certain = certain or ("," in cell and not _THOUSAND.match(cell))
    return certain


_THOUSAND = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}\Z")
_DIGITS = r"[+-]?[0-9]+(?:[.,][0-9]+)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mai|okt|dez)[a-z]*\.?"
_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[ap]m)?(?:z| ?[+-][0-9]{2}:?[0-9]{2})?"
_SIGN = r"(?:[$€£¥₹₽₩]|usd|eur|gbp|chf|jpy|cny|inr|kr)"
_UNIT = r"(?:[mµk]?g|t|lbs?|oz|[mckµn]?m[²³]?|in|ft|mi|km/h|mph|m/s|[mµ]?s|min|h|[mc]?l|k|[kmg]b|k?wh?|m?v|k?hz|°[cf])"
_POINT = "write it with a point and without other marks"
_LOOKS: tuple[tuple[str, str, str], ...] = (
    (rf"{_DIGITS}(?:[.,][0-9]+)* ?%", "a percentage", "write the number without the sign, such as 12.5 or 0.125"),
    (
        rf"\(?[+-]?{_SIGN} ?[0-9.,' ]+\)?|[+-]?[0-9.,' ]*[0-9] ?{_SIGN}",
        "an amount of money",
        "write the number alone, with a point",
    ),
    (r"[+-]?[0-9]{1,3}(?:,[0-9]{3}){2,}(?:\.[0-9]*)?", "a number with thousands separators", "write it without them"),
    (r"[+-]?[0-9]{1,3},[0-9]{3}\.[0-9]*", "a number with thousands separators", "write it without them"),
    (
        r"[+-]?[1-9][0-9]{0,2},[0-9]{3}",
        "a number with thousands separators, or with a decimal comma",
        "write it without separators, and with a point for the decimal comma",
    ),
    (r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]*", "a number with thousands separators and a decimal comma", _POINT),
    (r"[+-]?[0-9]{1,3}(?:\.[0-9]{3}){2,}", "a number with points as thousands separators", "write it without them"),
    (
        r"[+-]?[0-9]{1,3}(?:['’\u00a0\u2009\u202f ][0-9]{3})+(?:[.,][0-9]*)?",
        "a number with thousands separators",
        "write it without them",
    ),
    (r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?", "a number with a decimal comma", "write it with a point"),
    (r"[+-]?[0-9.]*[0-9]_[0-9][0-9_.]*", "a number with an underscore", "write it without it"),
    (r"\([0-9.,]+\)", "a negative number in brackets", "write it with a minus sign"),
    (r"[−–][0-9.,]+", "a number with a long minus sign", "write it with an ASCII hyphen"),
    (r"[+-]?[0-9]+(?:\.[0-9]*)?[dD][+-]?[0-9]+", "a number with Fortran's exponent", "write it with an e"),
    (
        rf"[0-9]{{4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,2}}(?:[t ]{_TIME})?"
        rf"|[0-9]{{1,2}}[-/.][0-9]{{1,2}}[-/.][0-9]{{2,4}}(?:,? {_TIME})?"
        rf"|[0-9]{{1,2}}\.?[ -]{_MONTH}[ -][0-9]{{2,4}}|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}",
        "a date",
        "write a number instead, such as the days since the first date",
    ),
    (_TIME, "a time of day", "write a number instead, such as the seconds since midnight"),
    (rf"{_DIGITS} ?{_UNIT}", "a number with a unit", "write the number alone"),
)
_PATTERNS = tuple((re.compile(f"(?:{pattern})\\Z", re.IGNORECASE), what, do) for pattern, what, do in _LOOKS)


def looks_like(cell: str) -> tuple[str, str] | None:
    """The problem with a cell that is not a number, with advice; None for plain text."""
    for pattern, what, advice in _PATTERNS:
        if pattern.match(cell):
            return what, advice
    if cell and not cell.isascii():
        try:
            float(cell.replace(",", "."))
        except ValueError:
            return None
        return "a number in digits of another script", "write it with the digits 0 to 9"
    return None
