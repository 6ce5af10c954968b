"""The components of a search: searchers choose settings, pruners stop trials early."""
