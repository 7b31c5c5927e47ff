# The named tasks that people, hooks and CI run. `make demo` in a fresh clone shows the whole loop.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed-from-lock

# uv does not read pip's own variables: whoever set those meant both
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
# where it is set, every process compiles all that it imports anew: seconds each, and minutes for a test suite
unexport PYTHONDONTWRITEBYTECODE
# threads that spin while they wait take the cores from those that work
export OMP_WAIT_POLICY ?= PASSIVE
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo story up down check test test-all coverage bench tables lint audit size reference docs lock clean

help:
	@echo "make demo      from nothing to a trained, promoted model, with links to look at"
	@echo "make story     after the demo: the year that follows, watched, retrained and promoted"
	@echo "make setup     the virtual environment in .venv, as requirements.lock says"
	@echo "make up, down  start and stop the local stack"
	@echo "make check     unit tests that need no server; make test: the suite for every change; make test-all: the long rest"
	@echo "make lint      what CI calls first; make coverage, make audit, make size, make bench: what they measure"
	@echo "make docs      the documentation site, in site/; make reference: its pages that are made of the code"
	@echo "make lock      a new lock; make clean"

setup: $(STAMP)

# torch is not in the lock: its builds differ by device, and the index's default one brings gigabytes of CUDA.
# Choose another with UV_FIND_LINKS or UV_DEFAULT_INDEX, or install yours into .venv afterwards.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	"Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is %d.%d. Name another: make setup PYTHON=python3.12" % v)'
	@echo "== setting up .venv (once for each lock) =="
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --require-hashes requirements.lock
	$(BIN)/uv pip install torch==2.13.0
	$(BIN)/uv pip install --no-deps --editable .
	@touch $@

demo: setup
	$(BIN)/evergreen up
	$(BIN)/python -m examples.telecom demo

story: setup
	$(BIN)/python -m examples.telecom story

up: setup
	$(BIN)/evergreen up

down: setup
	$(BIN)/evergreen down

# two processes share the tests as their fixtures allow (tests/conftest.py)
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# tests/conftest.py marks what needs a server by the fixtures that a test uses
check: setup
	$(PYTEST) -m "not long and not slow and not servers" --most-seconds 10

test: setup
	$(PYTEST) -m "not long"

test-all: setup
	$(PYTEST) -m long

coverage: setup
	$(PYTEST) -m "not long" --cov --cov-report=term:skip-covered --cov-report=html

bench: setup
	$(BIN)/python -m bench

# The real tables lie beside the project: ../shared/data
tables: setup
	$(BIN)/python -m studies.tables --data ../shared/data

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# known vulnerabilities of what the lock names; the tool has an environment of its own
audit: setup
	$(BIN)/uv tool run pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict

size: setup
	@$(BIN)/python -m tools.size

reference: setup
	$(BIN)/python -m tools.reference

docs: reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site is in site/: $(BIN)/mkdocs serve shows it at http://127.0.0.1:8000"

lock: setup
	$(BIN)/uv pip compile --universal --generate-hashes --no-header pyproject.toml --extra dev --extra docs --extra xgboost --extra s3 -o requirements.lock

# The stack's data in .evergreen stay: remove that folder yourself, after `make down`
clean:
	test ! -x $(BIN)/evergreen || $(BIN)/evergreen down
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov site
	find . -name __pycache__ -not -path './.evergreen/*' -prune -exec rm -rf {} +
