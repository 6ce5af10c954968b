"""Answers HTTP with a trained model."""
