"""A run as people look at it: its plots, and a page for notebooks."""
