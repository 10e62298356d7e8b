# Spanloom's chores. `make` lists them; `make check` is all of CI.
#
# The environment lives in $(VENV) and is made from the locks by hash. Two stamps say what is in it:
# .spanloom-run (requirements.lock and this package, editable) and .spanloom-dev (the same plus
# requirements-dev.lock). A stamp older than its lock or pyproject.toml is made again in place; an
# environment that exists is never thrown away.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?=
ARGS ?=
FUZZ_SECONDS ?= 300
BENCH ?= $(filter-out __main__ archive fidelity fuzz viewers,$(basename $(notdir $(shell grep -l '^if __name__' benchmarks/*.py))))

PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --require-hashes --only-binary :all:
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate
RUN_STAMP := $(VENV)/.spanloom-run
DEV_STAMP := $(VENV)/.spanloom-dev

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | \
		awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'
	@echo 'ARGS="..." goes to the command; PYTHON=python3.12 picks the interpreter; VENV=dir the environment.'

# --- environment ---------------------------------------------------------------------------------

$(VENV)/pyvenv.cfg:
	@.ci/find-python "$(PYTHON)" > /dev/null
	"$$(.ci/find-python "$(PYTHON)")" -m venv "$(VENV)"

$(RUN_STAMP): requirements.lock requirements-build.lock pyproject.toml | $(VENV)/pyvenv.cfg
	$(INSTALL) -r requirements.lock
	$(INSTALL) -r requirements-build.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	$(INSTALL) -r requirements-dev.lock
	@touch $@

.PHONY: env lock
env: $(DEV_STAMP) ## the development environment, from the locks

lock: $(DEV_STAMP) ## write the locks anew (ARGS="--upgrade-package NAME" to move one)
	$(LOCK) pyproject.toml -o requirements.lock $(ARGS)
	$(LOCK) pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock $(ARGS)
	$(LOCK) --group pyproject.toml:build -o requirements-build.lock $(ARGS)

# --- run -----------------------------------------------------------------------------------------

.PHONY: demo bench bench-fidelity bench-incidents bench-archive bench-viewers
demo: $(RUN_STAMP) ## the whole engine on an embedded broker, with faults whose truth is known
	$(BIN)/spanloom demo $(ARGS)

bench: $(DEV_STAMP) ## a case of the engine (ARGS="--case latency --json FILE"), else the small benchmarks, or BENCH=name
ifneq ($(filter --case --case=%,$(ARGS)),)
	$(BIN)/python -m benchmarks $(ARGS)
else
	@[ -n "$(strip $(BENCH))" ] || { echo "bench: no benchmark in benchmarks/"; exit 1; }
	for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name $(ARGS); done
endif

.PHONY: signals
signals: $(RUN_STAMP) ## docs/signals.md anew, from the shipped contracts
	$(BIN)/python -m streams.cli.main contract signals --markdown seed inference > docs/signals.md.new
	mv docs/signals.md.new docs/signals.md

bench-fidelity: $(DEV_STAMP) ## precision and recall of lost spans on a recording (see --help)
	$(BIN)/python -m benchmarks.fidelity $(ARGS)

bench-incidents: $(DEV_STAMP) ## incidents and causes against truth (ARGS="--set nezha-tt --path DIR --json FILE")
	$(BIN)/python -m benchmarks.incidents $(ARGS)

bench-archive: $(DEV_STAMP) ## fill the console's archive and time it (ARGS="--entries N --json FILE")
	$(BIN)/python -m benchmarks.archive $(ARGS)

bench-viewers: $(DEV_STAMP) ## how soon a thousand viewers of the console see news (see --help)
	$(BIN)/python -m benchmarks.viewers $(ARGS)

# --- check ---------------------------------------------------------------------------------------

.PHONY: check test slow sim kafka browser fault fuzz fuzz-properties lint format types imports
check: ## all of CI: tests, slow ones, lint, types, imports, real broker, browser
	.ci/run

test: $(DEV_STAMP) ## the fast tests: no broker, no browser
	$(BIN)/pytest -m "not kafka and not browser and not slow" -n 3 --dist loadfile $(ARGS)

slow: $(DEV_STAMP) ## the tests without a broker that take their time: many seeds, storms, long properties
	$(BIN)/pytest -m "slow and not kafka and not browser" -n 2 --dist load $(ARGS)

sim: $(DEV_STAMP) ## simulated runs from seeds (ARGS="--seed 7" shows one, "--runs 5000" judges many)
	$(BIN)/python -m tests.sim $(or $(ARGS),--runs 1000)

# Their brokers live for minutes: what Java's second compiler costs there never comes back.
kafka browser: export SPANLOOM_KAFKA_JAVA_OPTS ?= -Xms256m -Xmx1g -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
kafka: $(DEV_STAMP) ## the tests on a real Kafka broker, which they start themselves
	$(BIN)/pytest -m kafka $(ARGS)

browser: $(DEV_STAMP) ## the tests in a browser
	@if $(BIN)/pytest -m browser --collect-only -q > /dev/null; then \
		$(BIN)/pytest -m browser $(ARGS); \
	elif [ $$? -eq 5 ]; then echo "browser: no test is marked browser yet"; \
	else $(BIN)/pytest -m browser --collect-only -q; fi

fault: $(DEV_STAMP) ## kills, storms and damage against an oracle (ARGS="--scenario kills --kills 20")
	@$(BIN)/python -m tests.fault $(ARGS)

fuzz: $(DEV_STAMP) ## hostile telemetry against the shipped worker (ARGS="--seed 7 --json fuzz.json")
	$(BIN)/python -m benchmarks.fuzz $(ARGS)

fuzz-properties: $(DEV_STAMP) ## property tests on fresh seeds for FUZZ_SECONDS
	@deadline=$$((SECONDS + $(FUZZ_SECONDS))); rounds=0; \
	while [ $$rounds -eq 0 ] || [ $$SECONDS -lt $$deadline ]; do \
		seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); \
		echo "fuzz-properties: round $$((rounds + 1)), --hypothesis-seed=$$seed"; \
		$(BIN)/pytest -q -m "not kafka and not browser" --timeout=0 --hypothesis-profile=fuzz \
			--hypothesis-seed=$$seed tests/property $(ARGS); \
		rounds=$$((rounds + 1)); \
	done; echo "fuzz-properties: $$rounds rounds, nothing found"

lint: $(DEV_STAMP) ## ruff's rules
	$(BIN)/ruff check $(ARGS)

format: $(DEV_STAMP) ## lay the code out and fix what ruff can fix
	$(BIN)/ruff check --fix $(ARGS)
	$(BIN)/ruff format $(ARGS)

types: $(DEV_STAMP) ## mypy --strict, of the package and the benchmarks
	$(BIN)/mypy $(ARGS)

imports: $(DEV_STAMP) ## who may import whom
	$(BIN)/lint-imports $(ARGS)

# --- ship ----------------------------------------------------------------------------------------

.PHONY: dist wheel-test clean
dist: $(DEV_STAMP) ## the wheel, in dist/
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

wheel-test: dist ## the wheel in an empty environment: help, then ten seconds of demo
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(BIN)/python -m venv "$$dir/venv"; \
	"$$dir/venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock; \
	"$$dir/venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps dist/*.whl; \
	cd "$$dir"; venv/bin/spanloom --help > /dev/null; venv/bin/spanloom demo --seconds 10
	@echo "wheel-test: passed"

clean: ## caches and builds; the environment stays
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find streams tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
