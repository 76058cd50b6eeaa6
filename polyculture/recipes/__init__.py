"""Recipes: YAML in, a run folder out, stage by stage, resumable."""
