# make demo: the whole chain on this machine. make test: everything that is checked. Both set up .venv by themselves.
# make android: the Android demo, as far as it can be checked without Android; part of make test where its tools are.
# make bench: every figure of the README that a quiet machine of this kind gives in ten minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test lint android artifacts bench clean

demo: $(VENV)/.train
	$(BIN)/harexport demo

test: lint
	$(BIN)/python -m pytest
	@$(BIN)/python android_demo/checks/run.py $(if $(CI),,--where-possible)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

android: $(VENV)/.test
	@$(BIN)/python android_demo/checks/run.py

artifacts: $(VENV)/.test
	$(BIN)/python artifacts/build.py

bench: $(VENV)/.test
	$(BIN)/python benchmarks/summary.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/batch.py

clean:
	rm -rf $(VENV) harexport-out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "harexport needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) (PyTorch and the runtimes; a few minutes the first time) ..."
	$(INSTALL) '.[train]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with what the tests need ..."
	$(INSTALL) '.[train,peers,test]'
	@touch $@ $(VENV)/.train
