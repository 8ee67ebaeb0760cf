"""domains + token counts -> baselines and sampled mixtures."""
