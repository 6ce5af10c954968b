"""Images and classes in tar files in the WebDataset format, for wf."""
