"""Metrics -> wandb, and back from its files."""
