"""What authors of wf plugins use: the conformance kit, and the template of a new package.

`import wf_kit` imports no torch; the checks do, when they are made.
"""

from wf_kit.checking import check_plugin, conformance_cases
from wf_kit.kit import Case, Check, Result

__all__ = ["Case", "Check", "Result", "check_plugin", "conformance_cases"]
