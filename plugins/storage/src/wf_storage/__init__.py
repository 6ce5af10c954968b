"""How wf writes to the disk: files that survive a crash, manifests, and the folders of data and runs."""
