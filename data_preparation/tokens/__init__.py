"""Documents -> token shards, and back."""
