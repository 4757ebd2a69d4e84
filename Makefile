# One command per intention; CI calls the same. Every target makes .venv itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA_DIR ?= .quickstart

.PHONY: install quickstart test test-real check bench ci format clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

quickstart: install
	$(BIN)/coord quickstart --data-dir $(DATA_DIR) $(if $(KEEP),--keep,--no-keep)

test: install
	$(BIN)/python -m pytest -q -m "not real"

test-real: install
	$(BIN)/python -m pytest -q -m real

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8 --select ASYNC coordserver druidroles cli tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

bench: install
	$(BIN)/coord bench latency
	$(BIN)/python benchmarks/jute.py --rounds 1 --seconds 0.5 --clients 50

ci: check test test-real

clean:
	rm -rf $(VENV) build *.egg-info .quickstart
