# One line each. Everything is set up in .venv; PYTHON picks the interpreter (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick lint bench examples setup
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
setup: .venv/.ready
demo: setup         ; $(BIN)/python -m spd.clustering.scripts.demo
test: setup         ; $(TEST) --durations=20
quick: setup        ; $(TEST) -m "not slow and not slurm"
lint: setup         ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
bench: setup        ; $(BIN)/python -m benchmarks
examples: setup     ; $(BIN)/python -m spd.experiments.make_examples

.venv/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@
