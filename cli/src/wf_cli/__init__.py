"""The command line of wf."""
