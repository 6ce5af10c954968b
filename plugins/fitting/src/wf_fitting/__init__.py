"""Checking which components fit together, by the rules of plugins, and which links are needed between them."""
