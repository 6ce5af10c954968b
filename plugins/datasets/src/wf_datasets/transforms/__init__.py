"""Transforms: scaling, missing numbers, and augmentation of images."""
