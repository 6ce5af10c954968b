"""``--deterministic``: torch's switch for deterministic kernels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The setting that cuBLAS needs before its first use, so that its sums have a fixed order."""

ADVICE = "torch has no deterministic implementation of this operation: replace it, or omit --deterministic"
_REFUSED = re.compile(r"not have a deterministic implementation|nondeterministic because|CUBLAS_WORKSPACE")


@contextmanager
def deterministic(*, on: bool) -> Iterator[None]:
    """Let torch use deterministic kernels only; operations without one raise: ``torch.use_deterministic_algorithms``.

    Args:
        on: False changes nothing.
    """
    if not on:
        yield
        return
    os.environ.setdefault(WORKSPACE, ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    kernels = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except Exception as error:
        if _REFUSED.search(str(error)) and ADVICE not in getattr(error, "__notes__", ()):
            error.add_note(ADVICE)
        raise
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark = kernels
