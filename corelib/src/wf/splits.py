"""The splits of a dataset, and the shares in which its samples are divided among them."""

from __future__ import annotations

from wf.errors import UsageError

MAX_SHARE = 1e18
"""Upper bound of the shares of a split."""


def parse_split(text: str) -> tuple[float, float, float]:
    """Read ``70/15/15`` (train/validation/test) or ``90/10`` (train/validation) as shares that add up to 1.

    Raises:
        UsageError: For anything else.
    """
    try:
        shares = [float(part) for part in str(text).split("/")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 <= share < MAX_SHARE for share in shares) or not shares[0] > 0:
        raise UsageError(f"split '{text}' is not of the form A/B/C, the shares of train, validation and test: 70/15/15")
    shares += [0.0] * (3 - len(shares))
    total = sum(shares)
    return shares[0] / total, shares[1] / total, shares[2] / total
