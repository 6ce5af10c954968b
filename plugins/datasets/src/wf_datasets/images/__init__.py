"""Datasets of images, and how image files are read."""
