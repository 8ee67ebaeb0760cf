"""Measured differences -> verdicts."""
