# `make help` lists the targets.
#
# PYTHON=python3.12 make ...   another interpreter (3.11 or newer)
# uv is used when it is on the PATH, else venv and pip. Versions are those of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
# One thread a process: proxies and tests run one process a core, and more threads than cores slow all of them down.
export OMP_NUM_THREADS ?= 1
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: help quickstart notebooks test test-fast gpu check format clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := quickstart

help: ## what every target does
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

quickstart: $(VENV)/.installed ## environment, installation, and the main job on text found on this machine
	$(BIN)/proxymix run --config configs/quickstart.yaml

notebooks: $(VENV)/.installed ## what the notebooks show, again, of the study that quickstart made
	$(BIN)/python notebooks/execute.py notebooks/mixtures.ipynb notebooks/regression.ipynb

test: $(VENV)/.installed ## the whole test suite (under ten minutes on two cores)
	$(PYTEST)

test-fast: $(VENV)/.installed ## the tests that train next to nothing (a minute and a half on two cores)
	$(PYTEST) -m "not slow"

gpu: $(VENV)/.installed ## nine minutes on an NVIDIA GPU: are results right, and how fast (REHEARSE=1: about a minute on a CPU)
	$(BIN)/python benchmarks/gpu.py --minutes $(if $(REHEARSE),8,9) --out gpu_results $(if $(REHEARSE),--rehearse)

check: $(VENV)/.installed ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## lint and format, mending what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch is installed first and alone. Its default build for Linux brings gigabytes for CUDA, so a machine without a GPU
# takes the CPU build: the one that pip is already set up to find, or else the one that uv finds.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 2; }
ifneq ($(UV),)
	test -x $(BIN)/python || $(UV) venv --python $(PYTHON) $(VENV)
	$(UV) pip install --python $(BIN)/python --torch-backend=auto -c constraints.txt torch || \
	  $(UV) pip install --python $(BIN)/python -c constraints.txt torch
	$(UV) pip install --python $(BIN)/python -c constraints.txt -e ".[dev]"
else
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  if [ "$$(uname -s)" = Linux ] && ! nvidia-smi >/dev/null 2>&1 && \
	     ! $(BIN)/python -m pip install --quiet --dry-run --no-deps --report - -c constraints.txt torch 2>/dev/null | grep -q '+cpu"'; then \
	    $(BIN)/python -m pip install --quiet -c constraints.txt uv && \
	    $(BIN)/uv pip install --python $(BIN)/python --torch-backend=cpu -c constraints.txt torch || \
	    echo "No CPU build of torch found; taking the default one, which is large."; \
	  fi; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
endif
	touch $@

clean: ## remove the environment and what was built
	rm -rf $(VENV) build *.egg-info
