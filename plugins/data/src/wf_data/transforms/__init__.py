"""The transforms of a run: fitted on the train split, applied in advance or to each batch."""
