# Two commands: `make run` (set up, make the sample company, six months to released tiers) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# That of the environment, as for `tierhouse`; else this folder.
export DAGSTER_HOME := $(or $(DAGSTER_HOME),$(CURDIR))
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run ui test test-slow lint format bench docs lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# One environment serves both commands: the development lock holds everything the product needs plus the test tools.
setup: $(VENV)/.ready  ## the virtual environment, from the lock with hashes
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV) from requirements-dev.lock (a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit("Tierhouse needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Use: make PYTHON=/path/to/python3.11 ...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## sample company, ingest, six months through Dagster, gate, release, channels, summary
	@$(BIN)/tierhouse demo

# `dg dev`, to which the warning points, starts the same and would bring 17 packages, the client of Dagster's cloud among them.
ui: setup  ## the Dagster UI on this project
	@test -f "$$DAGSTER_HOME/dagster.yaml" || $(BIN)/python -c 'from orchestration.wiring.launch import project_instance; project_instance()'
	@$(BIN)/python -W 'ignore:Function `dev_command` is superseded:FutureWarning' -m dagster dev -m orchestration.definitions

test: setup  ## all tests but the slow ones
	@$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadgroup

test-slow: setup  ## whole runs killed at every step and at random times, full disks, other versions; laws of policies in many draws
	@$(BIN)/python -m pytest -q -m slow -n 2
	@TEST_DRAWS=many $(BIN)/python -m pytest -q -m "hypothesis and not slow" -n 2 tests/policy

lint: setup  ## ruff, mypy, sqlfluff, policy check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	$(BIN)/sqlfluff lint --disable-progress-bar models
	@set -e; for place in examples/*/tierhouse.yaml; do echo "policy check: $$(dirname $$place)"; $(BIN)/tierhouse policy check -d $$(dirname $$place); done

format: setup  ## let ruff and sqlfluff write their style
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/sqlfluff fix --disable-progress-bar models

bench: setup  ## speed as ratios to DuckDB itself, in one run (docs/benchmarks.md)
	@$(BIN)/python -m bench.run

docs: setup  ## the generated reference pages
	@$(BIN)/python -m docs.generate

lock:  ## compile the locks from pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q pyproject.toml --extra dev -o requirements-dev.lock

clean:  ## remove everything that runs write (not the environment)
	rm -rf var .dagster dbt_project/target dbt_project/logs
