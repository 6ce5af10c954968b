"""Detection and segmentation: datasets in COCO's format, detectors, average precision."""
