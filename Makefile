# `make demo` and `make test` set up .venv by themselves; they need Python 3.11, pip, venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-arithmetic test-docs test-notebooks test-integrations test-wheel docs notebooks results experiments-fast mutants lint bench clean

# torch goes first and pinned, so that nothing else pulls another build of it.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/python -m experiments.demo

# SEED=7 runs the tests in a random order, the same for the same seed: no test may lean on another.
ORDER := $(if $(SEED),-p randomly -p no:cacheprovider --randomly-seed $(SEED) --randomly-dont-reset-seed)
test: $(VENV)/.ready
	$(BIN)/python -m pytest $(ORDER) --numprocesses auto --maxprocesses 4 --dist loadfile --ignore tests/notebooks --ignore tests/docs \
		--ignore tests/wheel

# Tests that touch arithmetic, on the instructions and threads of other machines: rounding decides nothing.
ARITHMETIC := tests/scoring tests/adapters tests/fitting/losses tests/metrics/test_ranks.py \
	tests/fitting/multi_vector/test_initialization.py tests/fitting/multi_vector/test_fit.py \
	tests/fitting/model_selection/test_gallery_correction.py tests/experiments/test_coupling.py \
	tests/retrieval/test_cascade.py tests/retrieval/test_nudge.py tests/curation/test_duplicates.py \
	tests/probes/test_equals.py tests/probes/test_extremes.py tests/probes/offset/test_mixing.py \
	tests/probes/structure/test_neighbourhoods.py tests/probes/structure/test_rsa.py \
	tests/probes/pathology/test_robustness.py
test-arithmetic: $(VENV)/.ready
	for machine in "default 1 2" "avx2 2 1"; do set -- $$machine; \
		echo "$$1, threads: $$2"; \
		ATEN_CPU_CAPABILITY=$$1 OMP_NUM_THREADS=$$2 $(BIN)/python -m pytest \
			--numprocesses $$3 --dist loadfile $(ARITHMETIC) || exit 1; \
	done

# Faults planted in core lines, one at a time: the nearest tests must notice each.
mutants: $(VENV)/.ready
	$(BIN)/python tests/mutants.py

# The site, into site/: a broken link, or a docstring that cannot be read, is an error.
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --strict --quiet

# Every block of the README and of the site, as it is written, with real encoders.
test-docs: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 tests/docs

# What notebooks/NAME.ipynb shows, made anew from notebooks/NAME.py: all, or those of NAMES="a b".
notebooks: $(VENV)/.ready
	PYTHONPATH=. $(BIN)/python docs/_execute_notebooks.py $(NAMES)

# Tables of README and site from experiments/results: pages that differed are named, and fail it.
results: $(VENV)/.ready
	$(BIN)/python -m experiments.pages

# Each notebook from top to bottom: real encoders, and each is one long test.
test-notebooks: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 tests/notebooks

# What other frameworks ask of us, against the real ones; without them these tests are skipped.
ONNXRUNTIME_WEB := 1.30.0
$(VENV)/.integrations: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[integrations,contracts]'
	if command -v npm >/dev/null; then npm install --silent --no-save --prefix $(VENV)/node onnxruntime-web@$(ONNXRUNTIME_WEB); fi
	touch $@

test-integrations: $(VENV)/.integrations
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile tests/integrations

# The wheel, outside of this checkout and with nothing but what it asks for: the tutorial as it is typed.
test-wheel: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	ISTHMUS_WHEEL=$$(echo dist/*.whl) $(BIN)/python -m pytest tests/wheel

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A small version of every experiment, one after the other, on real data; no record is written.
# Some need every encoder that comes in a package.
EXPERIMENTS := league mind_the_gap geometry compare_similarities unite unite_mixing unite_curation meta_embed \
	tune scaling frontier:--data=conala harm calibration learning_curve drift scout few_pairs nulls coverage \
	cascade low_bit_codes video composite_items composed_queries document_pages unite_gallery unite_instructions
$(VENV)/.experiments: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[frontier]'
	touch $@

experiments-fast: $(VENV)/.experiments
	test -n "$$ISTHMUS_DATA" || { echo "set ISTHMUS_DATA to the folder of the data sets"; exit 1; }
	set -e; for each in $(EXPERIMENTS); do \
		echo "$$each"; $(BIN)/python -m experiments.$${each%%:*} --quick $$(echo "$$each" | sed -n 's/.*://p') >/dev/null; \
	done

bench: $(VENV)/.ready
	$(BIN)/python -m experiments.league --data emoji --n 1000
	$(BIN)/python -m experiments.bench.fit_cost
	$(BIN)/python -m experiments.bench.probes
	$(BIN)/python -m experiments.bench.maxsim

clean:
	rm -rf $(VENV) demo-output dist build .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis site
