# Two commands on a fresh machine with Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint nightly docs bench clean

demo: .venv/installed
	$(BIN)/unpaired demo --out runs/demo

test: .venv/installed
	$(BIN)/python -m pytest -n 2 tests

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

nightly: .venv/installed
	$(BIN)/python -m pytest -m nightly tests

docs: .venv/installed
	$(BIN)/python -m docs.site

bench: .venv/installed
	$(BIN)/unpaired bench

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache runs build dist
