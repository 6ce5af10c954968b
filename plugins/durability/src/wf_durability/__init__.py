"""Durability: ``wf resume``, ``wf replay`` and ``wf prove-resume``."""
