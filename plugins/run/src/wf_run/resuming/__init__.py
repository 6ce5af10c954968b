"""Going on with a run: under which conditions, and with which state."""
