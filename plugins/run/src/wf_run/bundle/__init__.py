"""Bundles: self-contained trained models."""
