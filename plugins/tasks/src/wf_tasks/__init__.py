"""The common tasks for wf, and the links between dataset, model and loss."""
