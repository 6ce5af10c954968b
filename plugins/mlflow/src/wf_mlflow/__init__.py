"""Logs the runs of wf to MLflow."""
