"""Mixtures and counts as files and as values."""
