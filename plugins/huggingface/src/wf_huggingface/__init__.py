"""Datasets of files and of the Hugging Face hub for wf, read by the library `datasets`."""
