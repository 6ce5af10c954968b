"""Texts as samples of tokens: files, rows, datasets, and readers for predictions."""
