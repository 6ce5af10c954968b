"""What trainers and evaluators share: their base class, objectives, gradients, and the modes and parts of models."""
