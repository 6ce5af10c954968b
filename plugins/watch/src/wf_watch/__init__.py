"""The list of runs, and watching a run from another terminal."""
