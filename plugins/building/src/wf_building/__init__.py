"""Builds components from their tables: converts options, fills in run values, builds nested components first."""
