"""Which code of a run directory may run: the code that it has, and the code that is known to be the user's own."""
