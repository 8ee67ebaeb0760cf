"""Fixtures shared by tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: the machines that run tests are small and shared
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if (
    "PROXYMIX_TEST_GPU" not in os.environ
):  # what is said to the bit is said of processors; tests/test_gpu.py is for GPUs
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code; in CI the examples are the same each time.
settings.register_profile(
    "shared", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")
