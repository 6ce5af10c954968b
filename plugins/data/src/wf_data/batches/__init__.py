"""How batches are made: the order of the samples, their division among processes, and reading them."""
