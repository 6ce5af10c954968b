"""What a target's signature says, read from its source file: its module is not imported, so torch is not either.

What cannot be told for certain is not guessed: `read` gives None, and the caller imports the target. Certain means: the
file is run from top to bottom by importing it, and nobody changes its functions and classes from outside.
"""

from wf.static.signatures import Reading, read
from wf.static.values import is_exact

__all__ = ["Reading", "is_exact", "read"]
