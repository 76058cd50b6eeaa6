"""From a batch to the log-probabilities that objectives are functions of."""
