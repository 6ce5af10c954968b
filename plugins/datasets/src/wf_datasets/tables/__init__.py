"""Tables in text files: tabular datasets and time series, and how their columns are read."""
