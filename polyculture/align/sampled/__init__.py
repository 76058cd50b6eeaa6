"""Training on the policy's own samples, towards a target distribution."""
