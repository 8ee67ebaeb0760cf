"""A study's results -> the report's figures: the table behind each, and its words for those who do not see it."""
