"""The tasks of texts, their loss and their metrics."""
