"""The kinds, settings, run values and conditions of this package, for `wf_run.plugin`. Imports nothing heavy."""

from wf.declarations.conditions import CONDITIONS as ALL_CONDITIONS
from wf.declarations.general import GENERAL
from wf.declarations.kinds import KINDS as ALL_KINDS
from wf.declarations.values import VALUES as ALL_VALUES
from wf.declarations.values import RunValue
from wf_run.declared.conditions import CONDITIONS
from wf_run.declared.kinds import KINDS
from wf_run.declared.settings import OWN_PLUGIN, SETTINGS
from wf_run.declared.values import VALUES


def declare() -> None:
    """Declare them, as loading the plugin does."""
    ALL_KINDS.add(KINDS, OWN_PLUGIN)
    GENERAL.add(SETTINGS, OWN_PLUGIN)
    ALL_VALUES.add((*RunValue.of_kinds(KINDS), *VALUES), OWN_PLUGIN)
    ALL_CONDITIONS.add(CONDITIONS, OWN_PLUGIN)
