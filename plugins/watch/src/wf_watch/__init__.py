"""Runs at a glance: the list of runs, and a run that is watched from another terminal."""
