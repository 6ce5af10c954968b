"""Tools for authors of wf plugins: the conformance kit, and the template of a new package.

`import wf_kit` imports neither torch nor the checks; they are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wf_kit.checking import check_plugin, conformance_cases
    from wf_kit.kit import Case, Check, Result

__all__ = ["Case", "Check", "Result", "check_plugin", "conformance_cases"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'wf_kit' has no attribute '{name}'")
    module = "wf_kit.checking" if name in ("check_plugin", "conformance_cases") else "wf_kit.kit"
    return getattr(importlib.import_module(module), name)
