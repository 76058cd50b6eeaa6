"""Rows, examples, token ids, batches: what a training reads."""
