"""A study's results -> charts, figures, and the sections of a page."""
