"""Signatures and docstrings read from source files, without importing the module, so without torch.

Nothing is guessed: if a source is not certain, `wf_signatures.reading.read` returns None, and the caller imports the
module. The assumptions are that importing runs the file from top to bottom, and that no code outside it changes its
functions and classes. Of wf this package knows only the two markers in annotations, `wf.FromRun` and `wf.Nested`.
"""
