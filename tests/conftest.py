"""Fixtures shared by tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: the machines that run tests are small and shared
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
