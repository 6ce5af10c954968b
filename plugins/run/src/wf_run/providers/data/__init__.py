"""The providers of the data: dataset, task, transforms, and the splits in batches."""
