"""Resuming a run: its conditions and its state."""
