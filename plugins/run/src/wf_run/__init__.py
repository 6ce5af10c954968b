"""Runs: ``wf run``, and operations on existing runs."""
