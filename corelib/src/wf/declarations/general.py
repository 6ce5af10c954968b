"""The general keys of run files, which plugins declare with ``wf_settings``."""

from __future__ import annotations

from wf.declarations.component import Param
from wf.declarations.kinds import KINDS
from wf.declarations.vocabulary import Vocabulary

GENERAL: Vocabulary[Param] = Vocabulary("setting", "general keys of a run file, and options of wf run", beside=(KINDS,))
"""The general keys of a run file, which are options of ``wf run``, too."""


def value_settings() -> dict[str, Param]:
    """The general keys that are run values, too."""
    return {name: param for name, param in GENERAL.items() if param.is_value}
