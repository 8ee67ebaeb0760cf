"""A fitted model -> the mixtures that minimise the objective within the constraints."""
