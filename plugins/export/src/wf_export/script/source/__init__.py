"""Copies the source of functions and classes with everything they need."""
