"""Data of runs: samples read, transformed, placed and served in batches."""
