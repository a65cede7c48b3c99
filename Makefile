# Everything from a fresh clone: `make demo` and `make test` each do their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
# Stamps: a target runs again only when what it was made from changed.
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint format bench live dashboard audit weights engine clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEVELOPMENT) weights ## Install everything needed to develop, and fetch the pretrained weights

demo: $(RUNTIME) weights engine ## Watch emotion events arrive for a sample conversation
	@$(BIN)/medusa demo

test: setup ## Lint, check types and imports, run every test
	@sh tests/system_packages.sh
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest

lint: $(DEVELOPMENT) ## Lint, check format, types and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEVELOPMENT) ## Format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure the voice detectors on the clips at hand; medusa bench --help lists the others
	@$(BIN)/medusa bench vad --clips tests/data

live: setup ## Measure live streams at the pace of speech, ours beside a plain server (about five minutes)
	@$(BIN)/medusa bench live --streams 1,4 --out bench-out

dashboard: $(DEVELOPMENT) ## Build the dashboard's page from its source
	cd streaming/dashboard && ../../$(BIN)/python npm.py ci --silent && ../../$(BIN)/python npm.py run --silent types && \
	  ../../$(BIN)/python npm.py run --silent check && ../../$(BIN)/python npm.py run --silent build

audit: $(DEVELOPMENT) ## Look up known vulnerabilities of what is installed (needs a network; says so without one)
	@.ci/audit $(BIN)/python $(VENV)/audit

weights: $(RUNTIME)
	@$(BIN)/medusa weights fetch

engine: $(RUNTIME)
	@$(BIN)/medusa compile

clean: ## Remove the virtual environment and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) is not installed; install Python 3.11 or newer, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version) is too old; Python 3.11 or newer is needed: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME): pyproject.toml | $(BIN)/python
	@echo "Installing MEDUSA live (a few minutes the first time)"
	@$(PIP) install --editable .
	@touch $@

$(DEVELOPMENT): pyproject.toml | $(BIN)/python
	@echo "Installing MEDUSA live with its development tools (a few minutes the first time)"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(RUNTIME)
