# Everything a developer or operator does here. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv run test soak sabotage mutants lint format schema migration bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
		|| { echo "Python 3.11 to 3.14 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "Python's venv module is missing (Debian: the package python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(STAMP) ## Make the virtual environment from the lock

run: $(STAMP) ## Run the product on embedded servers, with demonstration data (PORT, DATABASE_URL, REDIS_URL)
	@exec $(BIN)/classperf dev

test: $(STAMP) ## Run all tests, on servers of their own
	@exec $(BIN)/pytest -n 2 --dist worksteal

soak: $(STAMP) ## Kill, stop and cut off everything at random under load (SEED, SECONDS); see docs/faults.md
	@exec $(BIN)/python -m tests.soak

sabotage: $(STAMP) ## Show that the soak notices faults put into the code on purpose (writes docs/faults.md)
	@exec $(BIN)/python -m tests.soak.sabotage

mutants: $(STAMP) ## Show that the tests notice each part of metrics.sql (writes docs/mutants.md)
	@exec $(BIN)/python -m tests.mutants

lint: $(STAMP) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

schema: $(STAMP) ## Export schema.graphql
	$(BIN)/classperf schema > schema.graphql

migration: $(STAMP) ## Write a migration from what differs between tables and database (MESSAGE="add a thing")
	@test -n "$(MESSAGE)" || { echo 'Say what it does: make migration MESSAGE="add a thing"'; exit 1; }
	$(BIN)/classperf migration "$(MESSAGE)"

bench: $(STAMP) ## Measure speed, as ratios within one run
	@exec $(BIN)/python -m benchmarks

clean: ## Remove what was made here, the development data too
	rm -rf $(VENV) .data .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist tests/clients/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
