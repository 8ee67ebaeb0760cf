"""mixtures + losses -> regressors -> proposal -> confirmation -> report."""
