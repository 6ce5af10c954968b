"""The files that a trained model is written to."""
