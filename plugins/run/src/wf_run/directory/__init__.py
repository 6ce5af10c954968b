"""Run directories: their files, and write access."""
