"""The plan of a run: its run file completed with defaults and checked, before torch is imported."""
