# `make demo` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test engines browser test-engines-all test-compose bench sample lint types wheel-check docs check lock clean

demo: $(VENV)/.installed
	$(BIN)/wardround demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

# Puts the inference engines that tests run against into .engines/ (llama.cpp's server, vLLM on a CPU; 3.5 GB). Without
# them `make test` skips those tests and says so.
engines: $(VENV)/.installed-test
	$(BIN)/python -m tests.engines.fetch llama-server vllm

# What the tests of the pages need: Debian's Chromium and npm's axe-core. Without them `make test` skips those tests and
# says so.
browser: $(VENV)/.installed-test
	@command -v chromium chromium-browser google-chrome >/dev/null && command -v npm >/dev/null || \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium npm; } || \
	  { echo "install Chromium and npm by hand: they need root here" >&2; exit 1; }
	$(BIN)/python -m tests.browser.fetch

# Also `transformers serve`, which is slow.
test-engines-all: $(VENV)/.installed-test
	$(BIN)/python -m tests.engines.fetch llama-server vllm transformers
	WARDROUND_ENGINES_REQUIRED=all $(BIN)/python -m pytest tests/engines

# Brings compose.yaml up and runs studies over it: with the Docker engine that answers or, as root on Debian, with one that
# is unpacked into .engines/. Skipped with the reason elsewhere; WARDROUND_COMPOSE_REQUIRED=1 makes that a failure.
test-compose: $(VENV)/.installed-test
	-$(BIN)/python -m tests.compose.engine
	-$(BIN)/python -m tests.engines.fetch llama-server vllm
	WARDROUND_COMPOSE=1 $(BIN)/python -m pytest tests/compose

# Every benchmark beside its peer or limit; about half an hour, on a quiet machine. PEERS=--peers adds other harnesses and load
# generators, in environments of their own.
bench: $(VENV)/.installed-test
	mkdir -p reports
	$(BIN)/python -m tests.benchmarks $(PEERS) --json reports/benchmarks.json

# Makes the committed sample of a report anew.
sample: $(VENV)/.installed
	$(BIN)/wardround demo
	$(BIN)/wardround report reports/demo --html reports/sample/demo.html

lint: $(VENV)/.installed-test
	$(BIN)/ruff check client tasks tests
	$(BIN)/ruff format --check client tasks tests

types: $(VENV)/.installed-test
	$(BIN)/mypy

# Builds the wheel, installs it into a fresh environment and uses it from / with no checkout in sight.
wheel-check: $(VENV)/.installed-test
	$(BIN)/python tests/wheel_check.py

# Writes docs/cli.md from the commands' own help texts; a test checks that it is in step.
docs: $(VENV)/.installed-test
	$(BIN)/python -m tests.cli_reference > docs/cli.md
	$(BIN)/wardround compose --out compose.yaml

check: lint types test wheel-check

# The versions and hashes of everything that is installed, for every supported Python and platform.
lock: $(VENV)/.installed-test
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --upgrade pyproject.toml requirements-build.in -o constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --constraint constraints.txt --extra test pyproject.toml requirements-build.in -o constraints-test.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A new lock means a new environment: an updated one could keep what the lock no longer holds.
$(VENV)/.made: constraints.txt constraints-test.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wardround needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(PIP) install --quiet --require-hashes -r constraints.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --require-hashes -r constraints-test.txt
	@touch $@
