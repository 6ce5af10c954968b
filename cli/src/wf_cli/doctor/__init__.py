"""``wf doctor``: whether the installation is in order, and where it runs."""
