"""Datasets and transforms for wf."""
