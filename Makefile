# make help lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# What a person typed goes to Python by the environment, as typed: neither make nor a shell reads it.
VERSION ?= 1.0.0
override VERSION := $(value VERSION)
export VERSION
export DEMO_STARTED := $(shell date +%s.%N)
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins

# Behind a company's TLS proxy only the system's certificates count; uv, and pip before 24.2, bring their own.
export UV_SYSTEM_CERTS ?= 1
SYSTEM_CERTIFICATES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt))
ifneq ($(SYSTEM_CERTIFICATES),)
export PIP_CERT ?= $(SYSTEM_CERTIFICATES)
endif

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# Most tests wait: for containers, for apt, for Airflow. Two live Airflows at a time keep two cores busy, and a third
# one takes more from them than it gives. Other tests do well with three processes.
# The longest files begin first, and the attacks fill the gaps.
LONGEST := tests/e2e/test_releases.py tests/e2e/test_demo.py
RELEASES := --numprocesses 2 --dist loadfile --no-loadscope-reorder $(LONGEST) tests/attacks \
  $(filter-out $(LONGEST),$(wildcard tests/e2e/test_*.py))
PARTS := --numprocesses 3 --dist loadfile --no-loadscope-reorder tests/integration tests/unit tests/dags
SHELL_FILES = git grep --untracked -lzE '^\#!/(usr/bin/env |bin/)(ba)?sh|^\# shellcheck shell=' -- ':!*.py'

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) gnupg ## Build, publish and install a release on this machine: make demo VERSION=1.0.1
	@$(BIN)/python -m demo up

.PHONY: status
status: $(READY) ## Show what the demo runs, and where
	@$(BIN)/python -m demo status

.PHONY: down
down: $(READY) ## Stop everything that the demo started
	@$(BIN)/python -m demo down

.PHONY: clean
clean: $(READY) ## Stop the demo and forget its data
	@$(BIN)/python -m demo clean

.PHONY: quick
quick: lint gnupg ## Run lint, the unit tests, the DAG tests and the attacks that need no Docker
	$(BIN)/pytest --numprocesses 2 tests/unit tests/dags tests/attacks --ignore=tests/attacks/test_containers.py

.PHONY: compose-demo
compose-demo: $(READY) gnupg ## Do the same with the services of docker-compose.yaml
	@$(BIN)/python -m demo --compose up

.PHONY: compose-down
compose-down: $(READY) ## Stop everything that make compose-demo started
	@$(BIN)/python -m demo --compose down

.PHONY: compose-clean
compose-clean: $(READY) ## Stop it and forget its data
	@$(BIN)/python -m demo --compose clean

.PHONY: test
test: lint gnupg promtool ## Run lint and the tests, but for those marked as slow
	$(BIN)/pytest -m "not slow" $(RELEASES)
	$(BIN)/pytest -m "not slow" $(PARTS)

.PHONY: test-all
test-all: test ## Run lint and all tests, the slow ones and those of docker-compose.yaml after the others
	$(BIN)/pytest -m slow $(RELEASES)
	$(BIN)/pytest -m slow $(PARTS)
	$(BIN)/pytest tests/deployment/test_compose.py

.PHONY: test-deployment
test-deployment: $(READY) gnupg ## Test docker-compose.yaml: release, kill and replace its services
	$(BIN)/pytest tests/deployment

.PHONY: test-browser
test-browser: $(READY) gnupg ## Test the console in Chromium: a release from the form to users, and an undo
	$(BIN)/pytest -v tests/browser

.PHONY: soak-runs
soak-runs: export HHVM_TEST_SEQUENCES = $(or $(value SEQUENCES),200)
soak-runs: export HHVM_TEST_SEED = $(or $(value SEED),$(shell shuf -i 1-999000 -n 1))
soak-runs: export HHVM_TEST_LANES = $(or $(value LANES),4)
soak-runs: $(READY) gnupg ## Test what runs mean: the tables of docs/resume.md, 200 random sequences: SEED=1 SEQUENCES=1
	$(BIN)/pytest -v tests/soak/test_resume_table.py tests/soak/test_run_model.py

.PHONY: soak-escape
soak-escape: export HHVM_TEST_MINUTES = $(or $(value MINUTES),60)
soak-escape: export HHVM_TEST_SEED = $(or $(value SEED),$(shell shuf -i 1-999000 -n 1))
soak-escape: $(READY) gnupg ## Test that builds stay in their containers, whatever they try: MINUTES=60 SEED=1
	$(BIN)/pytest -v -s tests/soak/test_escape.py

.PHONY: soak-aws
soak-aws: export HHVM_TEST_SEEDS = $(or $(value SEEDS),50)
soak-aws: export HHVM_TEST_SEED = $(or $(value SEED),$(shell shuf -i 1-999000 -n 1))
soak-aws: export HHVM_TEST_LANES = $(or $(value LANES),2)
soak-aws: $(READY) gnupg ## Release through 50 random sets of AWS's faults and print a table: SEED=1 SEEDS=1
	$(BIN)/pytest -v --numprocesses "$$HHVM_TEST_LANES" --maxschedchunk 1 tests/soak/test_aws_faults.py

.PHONY: lint
lint: $(READY) ## Check style, types, imports, shell, Dockerfiles and templates
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@command -v shellcheck >/dev/null || demo/debian-packages shellcheck
	@$(SHELL_FILES) | xargs -0 shellcheck --external-sources
	@echo "shellcheck: no issues found"
	@git ls-files -z -- '*Dockerfile' | xargs -0 $(BIN)/hadolint
	@echo "hadolint: no issues found"
	$(BIN)/cfn-lint deploy/aws/*.yaml
	@echo "cfn-lint: no issues found"

.PHONY: check-distros
check-distros: $(READY) ## Say what is wrong with the directories under distros/
	@$(BIN)/python -m hhvm_packaging.cli.check_distros

.PHONY: bench-publish
bench-publish: $(READY) gnupg ## Compare the apt publisher with reprepro and aptly
	@$(BIN)/python -m benchmarks.publish

.PHONY: bench-checks
bench-checks: export HHVM_BENCH_COMMIT = $(or $(value COMMIT),e2a7452^)
bench-checks: $(READY) gnupg ## Compare a publish with that of an older commit, whose publisher checked less: COMMIT=1a2b3c4
	@$(BIN)/python -m benchmarks.checks "$$HHVM_BENCH_COMMIT"

.PHONY: bench-site
bench-site: $(READY) gnupg ## Count what a publish and the canary ask of a large store, and of a tenth of it
	@$(BIN)/python -m benchmarks.site

.PHONY: bench-room
bench-room: $(READY) ## Run 56 builds on emulated EC2 with room for 10
	@$(BIN)/python -m benchmarks.room

.PHONY: bench-workers
bench-workers: $(READY) ## Measure what waiting for 10, 100 and 500 instances costs, and a log
	@$(BIN)/python -m benchmarks.workers
	@$(BIN)/python -m benchmarks.log_bytes

.PHONY: bench-orchestration
bench-orchestration: $(READY) gnupg ## Compare the waits of a release with the step functions'
	@$(BIN)/python -m benchmarks.orchestration

.PHONY: bench-failures
bench-failures: $(READY) gnupg ## Measure what a fault of each service of docker-compose.yaml costs
	@$(BIN)/python -m benchmarks.failures

.PHONY: bench-build
bench-build: $(READY) gnupg ## Measure builds: nothing cached, dependencies, a warm compiler cache, one file changed
	@$(BIN)/python -m benchmarks.build

.PHONY: bench-scale
bench-scale: $(READY) gnupg ## Compare executors with 10, 100 and 500 mapped jobs
	@$(BIN)/python -m benchmarks.scale

.PHONY: requirements
requirements: $(READY) ## Compile requirements*.txt from requirements*.in
	for list in requirements requirements-dev; do \
	  $(BIN)/uv pip compile -q --generate-hashes --python-version 3.11 \
	    --no-emit-index-url --no-emit-find-links --no-header $$list.in -o $$list.txt; \
	done

.PHONY: promtool
promtool:
	@command -v promtool >/dev/null || demo/debian-packages prometheus

.PHONY: gnupg
gnupg:
	@command -v gpg >/dev/null && command -v gpgconf >/dev/null && command -v sqv >/dev/null || \
	  demo/debian-packages gnupg sqv

# uv takes seconds where pip takes more than a minute; pip only fetches the pinned uv.
$(READY): requirements-dev.txt
	@command -v git >/dev/null || { echo "git is missing: apt-get install git"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer with venv is missing: apt-get install python3 python3-venv"; exit 1; } >&2
	@echo "making the virtual environment"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check \
	  --require-hashes --no-deps --requirement <(sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt)
	@$(BIN)/uv pip sync --quiet requirements-dev.txt
	@touch $@
