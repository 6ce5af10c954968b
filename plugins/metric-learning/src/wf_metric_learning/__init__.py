"""The losses of pytorch-metric-learning for wf, as the catalogue ``metric-learning/<Name>``, and two metrics."""
