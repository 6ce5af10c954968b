"""Finds a learning rate and a batch size for a run."""
