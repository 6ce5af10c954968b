"""The common metrics for wf, accumulated on the device over a whole split."""
