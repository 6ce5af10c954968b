"""Signatures and docstrings read from source files, without importing the module, so without torch.

What cannot be told for certain is not guessed: `wf_signatures.reading.read` gives None, and the caller imports it.
Certain means: importing runs the file from top to bottom, and nobody changes its functions and classes from outside.

It knows nothing of wf but the names of the two markers that an annotation may have, `wf.FromRun` and `wf.Nested`.
"""
