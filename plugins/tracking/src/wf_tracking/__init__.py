"""Hooks that show and record a run: progress, plots, a verdict on the fit, learning rates, TensorBoard."""
