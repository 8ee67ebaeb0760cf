"""Text on disk -> documents by domain."""
