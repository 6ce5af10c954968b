"""timm for wf: its models, pretrained weights and optimizers."""
