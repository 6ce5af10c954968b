"""Writing to disk: files that survive a crash, manifests, and the folders of data and runs."""
