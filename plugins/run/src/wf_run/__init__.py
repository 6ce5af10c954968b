"""Runs: ``wf run``, and what is done with a run that is there."""
