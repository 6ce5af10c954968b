"""Models for wf: linear models, perceptrons, small convolutional and recurrent networks."""
