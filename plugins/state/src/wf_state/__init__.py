"""States of runs: as plain documents with tensors, and where two of them differ."""
