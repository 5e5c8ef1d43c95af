# make demo · make test · make check · make audit · make docs · make bench · make hawkears: each builds what it needs.
VENV := .venv
PY := $(VENV)/bin/python
HAWKEARS := .venv-hawkears
HAWKEARS_STAMP := $(HAWKEARS)/.built-from-lock
STAMP := $(VENV)/.built-from-lock
SHELL := /bin/bash

.PHONY: env demo test test-all fuzz check audit docs bench hawkears test-hawkears test-bats test-gpu lock clean
env: $(STAMP)

# The lock pins every version for every Python from 3.11 on and every extra; --no-deps keeps the two installers
# from adding anything to it. pip compiles what it installs, uv has to be told: a command would otherwise spend half of
# its start on compiling, each time where Python is told not to write bytecode.
$(STAMP): requirements.lock pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing $(VENV) && \
	  uv pip install --quiet --python $(PY) --no-deps --compile-bytecode -r requirements.lock && \
	  uv pip install --quiet --python $(PY) --no-deps -e . ; \
	else \
	  python3 -m venv $(VENV) && \
	  $(PY) -m pip install --quiet --no-deps -r requirements.lock && \
	  $(PY) -m pip install --quiet --no-deps -e . ; \
	fi
	@$(PY) -m compileall -q badc blocks flows tasks
	@touch $(STAMP)

demo: env
	@$(VENV)/bin/badc demo demo

test: env
	$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadgroup -m "not long"

# Also those that take long: whole datasets interrupted and resumed, several Dask workers started by hand, a million lines,
# property tests with many more examples.
test-all: env
	BADC_TEST_PROPERTIES=thorough $(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadgroup

# Made-up files into every reader: all of them, or those in FUZZ_TARGETS.
FUZZ_SECONDS ?= 600
fuzz: env .venv-fuzz/.built-from-lock
	PYTHONPATH=$$(echo $(CURDIR)/.venv-fuzz/lib/python*/site-packages) \
	  $(PY) -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

check: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Known vulnerabilities in what the locks pin for this Python. The tool has an environment of its own: what it needs is
# no dependency of BADC. A package that cannot be looked up fails the audit, too (--strict).
AUDIT := build/audit
AUDIT_SERVICE := pypi
audit: $(AUDIT)/bin/pip-audit
	@code=0; for each in requirements.lock vendor/*.lock; do \
	  echo "$$each"; \
	  $< --requirement $$each --no-deps --disable-pip --strict --progress-spinner off \
	    --vulnerability-service $(AUDIT_SERVICE) || code=1; \
	done; exit $$code

$(AUDIT)/bin/pip-audit:
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing $(AUDIT) && uv pip install --quiet --python $(AUDIT)/bin/python pip-audit ; \
	else \
	  python3 -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet pip-audit ; \
	fi

# The site, in build/site; every warning is an error. docs/notebook.md shows what becomes of the notebook.
docs: env
	@$(PY) -m nbconvert --log-level=WARN --to markdown --output-dir build docs/notebook.ipynb
	$(VENV)/bin/zensical build --strict --clean
	@echo "build/site/index.html"

bench: env
	$(PY) -m tests.bench

# HawkEars 2.x wants older libraries than BADC, and torch: 6 GB in an environment of its own.
hawkears: $(HAWKEARS_STAMP)
	@echo "HawkEars is in $(HAWKEARS); badc infer run --use-hawkears finds it there."
	@echo "Its weights are a download of their own. Into the place where HawkEars looks by default:"
	@echo "  $(CURDIR)/$(HAWKEARS)/bin/hawkears init --dest ~/.local/share/hawkears"
	@echo "or into any folder, which --hawkears-data then names."

.venv-%/.built-from-lock: vendor/%.lock
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing .venv-$* && \
	  uv pip install --quiet --python .venv-$*/bin/python --no-deps --compile-bytecode -r $< ; \
	else \
	  python3 -m venv .venv-$* && \
	  .venv-$*/bin/python -m pip install --quiet --no-deps -r $< ; \
	fi
	@touch $@

# The real HawkEars, on real audio, with an ensemble that was never trained (its weights need the internet).
test-hawkears: env $(HAWKEARS_STAMP)
	BADC_TEST_HAWKEARS=1 $(VENV)/bin/pytest tests/hawkears

# The real BatDetect2, whose weights are in its wheel, as a resident command: 6 GB with torch.
test-bats: env .venv-bats/.built-from-lock
	BADC_TEST_BATS=1 $(VENV)/bin/pytest -n 0 tests/bats

# A real GPU, with torch and HawkEars on it, and what HawkEars reaches there. A machine with no registry: tests/gpu/carry.py.
test-gpu: env $(HAWKEARS_STAMP)
	$(VENV)/bin/pytest -n 0 -s tests/gpu
	$(PY) -m tests.bench real-gpu

# After a change of the dependencies in pyproject.toml. No registry's address may get into the lock.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file requirements.lock pyproject.toml
	for each in hawkears bats fuzz; do uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --output-file vendor/$$each.lock vendor/$$each.in || exit; done

clean:
	rm -rf $(VENV) $(HAWKEARS) .venv-bats .venv-fuzz build demo *.egg-info
