"""The optimizers, learning-rate schedulers and losses of torch for wf, under torch's own names."""
