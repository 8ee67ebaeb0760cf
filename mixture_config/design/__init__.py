"""Which mixtures to train: baselines, draws, space-filling designs."""
