# tuneline: `make run` trains and registers the sample, `make test` checks everything.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: run test torture fuzz audit bench bench-full lint check-types check-imports constraints schema docs clean

run: .venv/installed
	dvc repro
	tuneline summary

test: .venv/installed lint check-types check-imports
	pytest --numprocesses 2 --dist loadgroup

# 200 kills of dvc repro at any point, and crowds: an hour on two cores.
torture: .venv/installed
	TUNELINE_KILLS=$${TUNELINE_KILLS:-200} pytest -m torture -rP --numprocesses 2 --dist loadgroup

# A coverage-guided fuzzer on what reads a person's files, five minutes. What it finds stays in tests/fuzz/cases.
fuzz: .venv/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .atheris 'atheris>=3.0'
	PYTHONPATH=.atheris python -m tests.fuzz.readers

# Known weaknesses of the pinned packages, which asks PyPI; and secrets in the files of git.
audit:
	test -x .venv-audit/bin/python || $(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit detect-secrets
	git ls-files -z | xargs -0 .venv-audit/bin/detect-secrets-hook --baseline .secrets.baseline
	.venv-audit/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt

# Where the public sets are: TUNELINE_DATA, see benchmarks/bench.py.
bench: .venv/installed
	python benchmarks/bench.py

bench-full: .venv/installed
	python benchmarks/bench.py --full

lint: .venv/installed
	ruff check .
	ruff format --check .

check-types: .venv/installed
	mypy

check-imports: .venv/installed
	lint-imports

docs: .venv/installed
	mkdocs build --strict --quiet

schema: .venv/installed
	tuneline schema

# The environment: pyproject.toml says what is needed, constraints.txt pins every package of it.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sample,dev]'
	touch $@

# Resolve the newest versions that go together, in a fresh environment, and pin them.
constraints:
	rm -rf .venv-constraints && $(PYTHON) -m venv .venv-constraints
	.venv-constraints/bin/python -m pip install --quiet 'torch==2.13.0'
	.venv-constraints/bin/python -m pip install --quiet '.[sample,dev,s3,postgres]'
	.venv-constraints/bin/python -m pip freeze --exclude tuneline | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf .tuneline data/validated data/tokenized data/model data/reports
