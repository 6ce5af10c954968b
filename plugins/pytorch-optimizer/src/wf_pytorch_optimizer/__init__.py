"""The optimizers of pytorch-optimizer for wf, as the catalogue ``pytorch-optimizer/<name>``."""
