"""Images and classes in tar files, as WebDataset has them, for wf."""
