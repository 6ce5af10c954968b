"""torch's optimizers and learning-rate schedules for wf, with complete options."""
