"""A finished run put to use: the trained model, raw inputs, predictions, evaluations on a file."""
