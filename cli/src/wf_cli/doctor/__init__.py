"""``wf doctor``: checks the installation and its environment."""
