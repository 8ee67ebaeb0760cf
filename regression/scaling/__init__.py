"""Losses at several sizes -> laws in size."""
