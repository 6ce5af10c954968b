"""The settings, run values and conditions of this package, for `wf_run.plugin`. Imports nothing heavy."""
