# make demo · make test · make check · make bench: each builds what it needs.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.built-from-lock
SHELL := /bin/bash

.PHONY: env demo test check bench lock clean
env: $(STAMP)

# The lock pins every version for every Python from 3.11 on and every extra; --no-deps keeps the two installers
# from adding anything to it.
$(STAMP): requirements.lock pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing $(VENV) && \
	  uv pip install --quiet --python $(PY) --no-deps -r requirements.lock && \
	  uv pip install --quiet --python $(PY) --no-deps -e . ; \
	else \
	  python3 -m venv $(VENV) && \
	  $(PY) -m pip install --quiet --no-deps -r requirements.lock && \
	  $(PY) -m pip install --quiet --no-deps -e . ; \
	fi
	@touch $(STAMP)

demo: env
	@$(VENV)/bin/badc demo demo

test: env
	$(VENV)/bin/pytest

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: env
	$(PY) -m tests.bench

# After a change of the dependencies in pyproject.toml. No registry's address may get into the lock.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build demo *.egg-info
