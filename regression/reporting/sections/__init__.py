"""A study's results and its figures -> the data that the template of each section shows; None where a section is left out."""
