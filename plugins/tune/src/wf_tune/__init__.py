"""Search for the settings of a run, with Optuna."""
