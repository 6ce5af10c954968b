"""What the parts of a run are made with: device, precision, first weights, groups of parameters."""
