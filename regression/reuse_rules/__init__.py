"""Old runs over changed domains."""
