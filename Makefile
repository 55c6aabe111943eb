# Each target does its own set-up: type `make demo` in a fresh clone. Only Python 3.11 or newer and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

# An environment without pip was left half made, by a Python without ensurepip for example, and is made again.
# The stamp is as new as the last change of what is installed, so nothing is done when nothing changed.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: say which one to use, as in 'make PYTHON=python3.12 …'" >&2; exit 1; }
	@echo "Installing what Matview needs into $(VENV): this takes a minute or two, once."
	@mkdir -p $(VENV) 2>/dev/null && test -w $(VENV) || \
		{ echo "$(VENV) cannot be written here: name another folder, as in 'make VENV=/tmp/matview demo'" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
		{ echo "$(VENV) cannot be made: install the package python3-venv (on Debian and Ubuntu) and try again" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: $(INSTALLED) ## Install everything into .venv

.PHONY: demo
demo: setup ## Watch real views being materialized (ARGS=--exit ends after the check)
	$(BIN)/python -m demo $(ARGS)

.PHONY: dev
dev: setup ## Run PostgreSQL, Temporal, the API and a worker on this machine
	$(BIN)/matview dev $(ARGS)

# Each of some hundred processes that the tests start would compile the program again if none may keep what it compiled.
.PHONY: test
test: setup ## Run every test, on real servers
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# What the suite only samples: all benchmarks, more requests, steps, races and random views, minutes of chaos.
.PHONY: nightly
nightly: export MATVIEW_GENERATED_REQUESTS ?= 4000
nightly: export MATVIEW_WALK_STEPS ?= 300
nightly: export MATVIEW_RACE_ROUNDS ?= 60
nightly: export MATVIEW_EVERY_BENCHMARK ?= 1
nightly: export MATVIEW_CHAOS_MINUTES ?= 3
nightly: export MATVIEW_FUZZ_PAIRS ?= 1000
nightly: export MATVIEW_FUZZ_CHANGES ?= 100
nightly: export MATVIEW_CRON_EXPRESSIONS ?= 250
nightly: setup ## Run the tests that take longer the more they are given
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/contract tests/benchmarks tests/chaos tests/fuzz $(ARGS)

# What the suite does in a minute, for hours: each fuzzer below tests/fuzz takes more when it is given more.
.PHONY: fuzz
fuzz: export MATVIEW_FUZZ_PAIRS ?= 10000
fuzz: export MATVIEW_FUZZ_EXAMPLES ?= 20000
fuzz: setup ## Try random input for hours (MATVIEW_FUZZ_SEED=2 tries other input)
	$(BIN)/python -m pytest --quiet tests/fuzz $(ARGS)

.PHONY: check
check: setup ## Format, lint, types, import rules and the tests that need no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy deploy/alerts/relay.py
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/model tests/architecture

.PHONY: format
format: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: setup ## Measure (ARGS=small, big, dag, start, api, schedules, cancel …; -h says more)
	$(BIN)/python -m benchmarks $(or $(ARGS),small)

.PHONY: bench-peers
bench-peers: setup ## Measure dbt, SQLMesh, Dagster and Prefect beside it (ARGS="--rounds 5"; -h says more)
	$(BIN)/python -m benchmarks.peers $(ARGS)

.PHONY: chaos
chaos: setup ## Break everything at random while readers read (ARGS="--minutes 20 --seed 1"; -h says more)
	$(BIN)/python -m chaos $(ARGS)

.PHONY: planted
planted: setup ## See that chaos finds bugs that are planted in copies of this tree (ARGS=-h says more)
	$(BIN)/python -m chaos.planted $(ARGS)

.PHONY: image-check
image-check: setup ## Build the image, measure it, and refresh views in containers (needs Docker or Podman; -h says more)
	$(BIN)/python -m tests.deploy.image_check $(ARGS)

.PHONY: docs
docs: setup ## Write the page of settings anew from the code
	$(BIN)/python -m docs.settings

.PHONY: vendored
vendored: setup ## Fetch the files of others that the console serves again (needs npm)
	$(BIN)/python -m tests.console.vendored

.PHONY: screenshots
screenshots: setup ## Take the pictures of the documentation anew (needs Chromium)
	$(BIN)/python -m docs.terminal_pictures
	$(BIN)/python -m docs.console_pictures
	$(BIN)/python -m docs.screenshots

.PHONY: lock
lock: setup ## Choose the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev \
		--generate-hashes --no-header --upgrade --quiet --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra server --extra objects --extra databases --extra traces --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-header --quiet \
		--output-file deploy/requirements-server.lock
	echo hatchling | $(BIN)/uv pip compile - --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --quiet --output-file deploy/requirements-build.lock
