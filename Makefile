# Needs Python 3.11 or newer, make, and for the first run a package index. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := api db deployments flows sandbox tasks settings.py cli.py

.PHONY: help setup demo up test test-fast lint format bench lock audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment and install the pinned packages

$(STAMP): requirements.txt pyproject.toml deployments/bootstrap.sh
	@bash deployments/bootstrap.sh $(VENV)
	@touch $@

demo: $(STAMP) ## Run the main job to its end: import, email, SMS, webhooks, check (ARGS="--csv FILE")
	@$(BIN)/ics demo $(ARGS)

up: $(STAMP) ## Start everything on this machine and stay until Ctrl-C
	@$(BIN)/ics up $(ARGS)

test: $(STAMP) ## The whole suite, on SQLite and on a MariaDB or MySQL (ICS_TEST_DATABASE_URL, else a private one)
	@$(BIN)/python -m deployments.test_database -- $(BIN)/python -m pytest -n 2 $(ARGS)

test-fast: $(STAMP) ## Unit tests only
	@$(BIN)/python -m pytest tests/unit -q $(ARGS)

lint: $(STAMP) ## Format, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(ROOMS)
	@$(BIN)/lint-imports --config pyproject.toml

format: $(STAMP) ## Format the code and sort imports
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure: import and send rates beside their limits (ARGS="--recipients 100000")
	@$(BIN)/python -m deployments.test_database -- $(BIN)/python -m benchmarks.sending $(ARGS)

lock: $(STAMP) ## Pin all packages again in requirements.txt
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile --universal --generate-hashes --extra dev --no-emit-index-url --no-header \
		--python-version 3.11 pyproject.toml -o requirements.txt -q

audit: $(STAMP) ## Known vulnerabilities of the pinned packages
	@$(BIN)/pip-audit --require-hashes -r requirements.txt

clean: ## Remove the environment and caches (the data in .ics stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
