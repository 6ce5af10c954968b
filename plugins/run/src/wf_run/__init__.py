"""Runs: ``wf run``, and operations on existing runs."""

from wf_run.declared import declare

declare()  # a Python program may import this package without loading its plugin
