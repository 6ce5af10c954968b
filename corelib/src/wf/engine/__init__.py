"""The loop: epochs, steps, cadence, events, and notes of a run."""
