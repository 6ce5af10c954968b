"""Plots of a run: its curves, and figures with many numbers as charts."""
