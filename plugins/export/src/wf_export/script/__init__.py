"""A run as a training program in plain PyTorch."""
