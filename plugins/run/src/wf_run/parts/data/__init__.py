"""The parts of a run that concern its data: datasets from files and samples of the user, folds, validation sets."""
