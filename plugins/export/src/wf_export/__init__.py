"""Writes trained models for use without wf."""
