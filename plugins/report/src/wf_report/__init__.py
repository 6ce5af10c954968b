"""Reports of runs and comparisons, as one HTML page."""
