"""The loop: epochs, steps, cadence, events, and what a run says about itself."""
