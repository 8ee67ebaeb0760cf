"""mixtures + token shards -> proxies trained on litgpt -> validation losses."""
