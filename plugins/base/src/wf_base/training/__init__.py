"""Shared code of trainers and evaluators: base class, objectives, gradients, and the modes and parts of models."""
