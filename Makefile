# Needs Python 3.11 or newer, make, and for the first run a package index. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
# Test processes. More than there are cores only makes them wait for each other.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup
WITH_DATABASE := $(BIN)/python -m deployments.test_database --

.PHONY: help setup demo up test test-fast faults faults-webhooks hostile random fuzz lint format bench reference lock audit clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment and install the pinned packages

# Runs again when what is pinned changes; the stamp is only written when all of it is there.
$(STAMP): requirements.txt pyproject.toml deployments/bootstrap.sh
	@PYTHON="$(PYTHON)" bash deployments/bootstrap.sh $(VENV)
	@touch $@

demo: $(STAMP) ## Run the main job to its end: import, email, SMS, webhooks, check (ARGS="--csv FILE")
	@$(BIN)/ics demo $(ARGS)

up: $(STAMP) ## Start everything on this machine and stay until Ctrl-C
	@$(BIN)/ics up $(ARGS)

test: $(STAMP) ## The whole suite, on SQLite and on a MariaDB or MySQL (ICS_TEST_DATABASE_URL, else a private one)
	@$(WITH_DATABASE) $(PYTEST) $(ARGS)

test-fast: $(STAMP) ## Without a database server, and without what takes long
	@$(PYTEST) -m "not slow and not prefect" --ignore tests/e2e $(ARGS)

lint: $(STAMP) ## Format, lint, types, import rules, secrets, known vulnerabilities
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --config pyproject.toml
	@$(BIN)/python -m deployments.security_checks

format: $(STAMP) ## Format the code, sort imports, repair what can be repaired
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

faults: $(STAMP) ## Campaigns under faults, and a count of what became of every message, in 10 minutes (ARGS="--seed 7")
	@$(WITH_DATABASE) $(BIN)/python -m tests.faults $(ARGS)

hostile: $(STAMP) ## 10,000 forged, stale, oversized and malformed webhooks: all refused, nothing written (ARGS="--seed 7")
	@$(BIN)/python -m tests.faults.hostile $(ARGS)

fuzz: $(STAMP) ## The API's own description against the API, for longer than the suite does (ARGS="--examples 500")
	@$(BIN)/python -m tests.fuzz $(ARGS)

random: $(STAMP) ## 10,000 requests drawn at random: no 5xx, flat memory (ARGS="--requests 50000 --seed 8")
	@$(BIN)/python -m tests.faults.random_requests $(ARGS)

faults-webhooks: $(STAMP) ## Webhooks while API and database are killed, and a count of every event (ARGS="--events 20000")
	@$(BIN)/python -m tests.faults.webhooks $(ARGS)

bench: $(BENCH_STAMP) ## Measure: rates of sending beside their limits and peers (ARGS="--quick")
	@$(BIN)/python -m deployments.test_database --durable -- $(BIN)/python -m benchmarks $(ARGS)

# What only the peers of the benchmark need; without it their rows are left out.
$(BENCH_STAMP): $(STAMP) benchmarks/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
		-r benchmarks/requirements.txt && touch $@ || echo "bench: no Celery, its row is left out"

reference: $(STAMP) ## Write docs/reference/api.md from the description of the API
	@$(BIN)/python -m deployments.api_reference

lock: $(STAMP) ## Pin the packages of pyproject.toml in requirements.txt (ARGS="--upgrade" for the newest)
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.txt $(ARGS)
	@$(BIN)/uv pip compile --group pyproject.toml:bench --constraint requirements.txt --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file benchmarks/requirements.txt $(ARGS)

audit: $(STAMP) ## Secrets in the files, known vulnerabilities in the pinned packages
	@$(BIN)/python -m deployments.security_checks $(ARGS)

clean: ## Remove the environment and caches (the data in .ics stay)
	rm -rf $(VENV) .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
