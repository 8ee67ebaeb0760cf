"""Which regressor to trust: cross-validation, learning curves, cross-fitting."""
