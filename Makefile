# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: demo test check slow lint types rooms audit readers clean

demo: $(STAMP)
	$(BIN)/leadline demo --out demo

test: readers
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope

check: test lint types rooms

slow: readers
	$(BIN)/leadline reader fetch smollm2
	$(BIN)/python -m pytest -q -m slow

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

rooms: $(STAMP)
	$(BIN)/lint-imports

audit: $(STAMP)
	$(BIN)/python dev/lock.py check

readers: $(STAMP)
	$(BIN)/leadline reader fetch minilm

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[models,tracking,teacher,cluster,export,excel,monitor,postgres,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo build dist
