"""The metrics of torchmetrics for wf, as the catalogue ``torchmetrics/<Name>``."""
