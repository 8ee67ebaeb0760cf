"""What is allowed: the simplex, bounds, groups, caps."""
