"""text -> documents -> domains -> token shards."""
