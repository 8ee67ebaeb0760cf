"""Finds the data mixture of a language-model pre-training run."""

from proxymix.siblings import find_siblings_first

find_siblings_first()

__version__ = "0.1.0"
