"""Settings of the whole test suite: threads, devices, and how many examples a property is tried on."""

import os
from pathlib import Path

# One thread a process. The machines that run tests are small and shared, and sums over several threads are not always
# the same to the bit. These must be set before numpy and torch are imported; processes that tests start inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PROXYMIX_TEST_GPU" not in os.environ:  # bit-exact results are promised for CPUs; tests/test_gpu.py is for GPUs
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the time of an example depends on the machine more than on the code. In CI the examples are the same each
# time. `make test-fast` tries fewer of them.
COMMON = {"deadline": None, "derandomize": "CI" in os.environ, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("all", **COMMON)
settings.register_profile("fast", max_examples=20, **COMMON)


def pytest_configure(config: pytest.Config) -> None:
    """Fewer examples where the slow tests are left out."""
    settings.load_profile("fast" if config.option.markexpr == "not slow" else "all")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that read a whole study are slow, because making it takes seconds."""
    for item in items:
        if {"finished_study", "trained_study"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def nothing_was_said_before() -> None:
    """What a process says once is said in every test, as each stands for a process of its own."""
    from proxymix.progress import say_once

    say_once.cache_clear()


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A confirmed study of five domains whose losses follow a planted law, for tests that only read it."""
    from synthetic_study import Law, built_once, write_study

    return built_once(tmp_path_factory.getbasetemp(), "finished_study", lambda folder: write_study(folder, Law(5)))


@pytest.fixture(scope="session")
def trained_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A confirmed study whose proxies are trained, for tests that only read it."""
    from synthetic_study import built_once
    from tiny_study import build, warm_up

    folder = built_once(tmp_path_factory.getbasetemp(), "trained_study", build)
    warm_up(folder)
    return folder / "study"
