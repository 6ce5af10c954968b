"""Hooks that display and record a run: progress, plots, a fit verdict, learning rates, TensorBoard."""
