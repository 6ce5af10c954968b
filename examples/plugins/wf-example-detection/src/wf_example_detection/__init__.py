"""An example of a custom task: object detection for wf."""
