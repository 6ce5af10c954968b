"""The declarations of plugins, and the names that they add. Imports nothing heavy."""
