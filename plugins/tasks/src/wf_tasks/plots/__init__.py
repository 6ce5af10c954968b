"""The plots of these tasks; `wf_run.plotting` says what a plot is given."""
