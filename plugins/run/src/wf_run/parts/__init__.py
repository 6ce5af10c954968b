"""Helpers for building the parts of a run: device, precision, initial weights, parameter groups."""
