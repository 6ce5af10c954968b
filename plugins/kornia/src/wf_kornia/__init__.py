"""The losses of kornia for wf, as the catalogue ``kornia/<Name>``."""
