"""Runs: ``wf run``, and operations on existing runs."""

from wf_run.declared import declare

declare()  # whoever uses this package from Python may not have loaded its plugin
