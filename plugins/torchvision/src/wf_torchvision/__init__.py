"""torchvision for wf: models, pretrained weights, datasets and transforms."""
