"""A mixture in the configuration of every trainer."""
