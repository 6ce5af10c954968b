"""Compare components by training them under equal conditions: a grid of runs, and a table with confidence intervals."""
