"""Figures as every part of the project draws them."""
