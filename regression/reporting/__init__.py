"""A study's files -> figures and a page."""
