"""The common losses for wf: each checks its options and refuses shapes that would broadcast."""
