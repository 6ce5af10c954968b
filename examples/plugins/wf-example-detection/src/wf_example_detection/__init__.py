"""An example of a task of one's own: object detection for wf."""
