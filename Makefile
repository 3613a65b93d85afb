# `make demo` and `make test` set up .venv by themselves; they need Python 3.11, pip, venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-notebooks test-integrations lint bench clean

# torch goes first and pinned, so that nothing else pulls another build of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m experiments.demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --ignore tests/notebooks

# Each notebook from top to bottom: real encoders, and each is one long test.
test-notebooks: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 tests/notebooks

# What other frameworks ask of us, against the real ones; without them these tests are skipped.
$(VENV)/.integrations: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[integrations,contracts]'
	touch $@

test-integrations: $(VENV)/.integrations
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile tests/contracts

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python -m experiments.compare_adapters --data emoji --n 1000
	$(BIN)/python -m experiments.bench.fit_cost
	$(BIN)/python -m experiments.bench.probes
	$(BIN)/python -m experiments.bench.maxsim

clean:
	rm -rf $(VENV) demo-output dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
