"""Bundles: trained models that stand alone."""
