"""The regressors, and the fitted model that predicts every target."""
