"""Studies: sweeps that vary how diverse the training data are and measure what a model learns from them."""
