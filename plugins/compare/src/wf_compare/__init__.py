"""Compare components by training them under the same conditions: a grid of runs, and a table with intervals."""
