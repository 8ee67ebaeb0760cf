"""Sweeps and mixtures -> charts and figures."""
