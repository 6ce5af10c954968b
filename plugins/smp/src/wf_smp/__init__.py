"""The losses of segmentation-models-pytorch for wf, as the catalogue ``smp/<Name>``."""
