"""Tables in text files: tabular datasets and time series, and the readers of their columns."""
