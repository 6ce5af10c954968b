"""Datasets of images, and readers of image files."""
