"""Training steps, validation, states."""
