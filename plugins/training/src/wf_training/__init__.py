"""Trainers, evaluators, checkpointers, strategies and loop hooks for wf."""
