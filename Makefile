# `make help` lists the targets. Each one sets up .venv if needed.
# make test WORKERS=1 runs the tests in one process. Tests that measure time or send signals run apart from the others.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() or 1))')
INSTALL = $(BIN)/python tools/install.py -c constraints.txt -e

.DEFAULT_GOAL := help
.PHONY: help demo test lint android apk docs artifacts bench fuzz clean

help: ## List the targets
	@echo "make TARGET, with one of"
	@while IFS= read -r line; do case "$$line" in \
	  [a-z]*:*"## "*) printf '  %-10s %s\n' "$${line%%:*}" "$${line##*## }";; esac; done < Makefile

demo: $(VENV)/.train ## Train, export and check a model in one run
	$(BIN)/harexport demo

test: lint ## Lint, check the types, run all tests and the checks of the Android demo
	$(BIN)/python -m pytest -m serial
	$(BIN)/python -m pytest -m "not serial" $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist loadfile)
	@$(BIN)/python android_demo/checks/run.py $(if $(CI),,--where-possible)

lint: $(VENV)/.test ## Check style, types and the layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

android: $(VENV)/.test ## Compile, test and package the Android demo without Android
	@$(BIN)/python android_demo/checks/run.py

apk: $(VENV)/.test ## Build the Android demo as an APK and print its path
	@$(BIN)/python android_demo/checks/run.py --apk

docs: $(VENV)/.test ## Generate docs/cli.md and the tables in the documentation
	$(BIN)/python tools/docs.py

artifacts: $(VENV)/.test ## Build every file in artifacts/ from its checkpoint
	$(BIN)/python artifacts/build.py
	$(BIN)/python artifacts/mounted_models.py
	$(BIN)/python artifacts/layer_models.py

bench: $(VENV)/.test ## Measure the figures of artifacts/ and benchmarks/ (needs an idle machine)
	$(BIN)/python benchmarks/summary.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/batch.py

fuzz: $(VENV)/.test ## Feed mutated inputs to every parser for 2 hours and record the findings; a second run continues
	$(BIN)/python -m tests.fuzz.run $(FUZZ)

clean: ## Delete the environment, outputs and caches
	rm -rf $(VENV) harexport-out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "harexport needs Python 3.11 or newer. Name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with PyTorch and the runtimes (some minutes, once)"
	@$(INSTALL) '.[train]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with what the tests need (some minutes, once)"
	@$(INSTALL) '.[train,peers,test]'
	@touch $@ $(VENV)/.train
