"""Runs -> processes that train them."""
