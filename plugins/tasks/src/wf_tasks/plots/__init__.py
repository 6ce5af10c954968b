"""The plots of these tasks; `wf_run.views.plotting` says what a plot is given."""
