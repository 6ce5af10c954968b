"""Logs the runs of wf to Weights & Biases."""
