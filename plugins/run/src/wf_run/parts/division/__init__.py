"""Warnings where a batch that is divided, among processes or for an update, has not the figures of a whole one."""
