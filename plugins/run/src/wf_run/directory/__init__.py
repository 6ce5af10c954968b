"""Run directories: what a run writes, and who may."""
