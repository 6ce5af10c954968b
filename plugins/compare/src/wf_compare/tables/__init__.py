"""Comparisons as tables, for terminals and reports."""
