"""The commands ``wf runs`` and ``wf watch``."""
