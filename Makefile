# make quickstart   environment, installation, and the main job on text found on this machine
# make test         the same environment and the whole test suite
# make check        lint, format and types
#
# PYTHON=python3.12 make ...   another interpreter (3.11 or newer)
# uv is used when it is on the PATH, else venv and pip. Versions are those of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test check format clean
.DELETE_ON_ERROR:

quickstart: $(VENV)/.installed
	$(BIN)/proxymix run --config configs/quickstart.yaml

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first and alone: on Linux its default build brings gigabytes for CUDA, so a machine without a GPU takes the
# CPU build: the one pip is already set up to find, or else the one that uv knows how to find.
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

clean:
	rm -rf $(VENV) build *.egg-info
