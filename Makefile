# `make demo` and `make test` need nothing but Python 3.11 or later; they set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: demo test check docs bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up, reproduce the paper in small, in some ten minutes; prints its page"
	@echo "make test    set up, run the tests"
	@echo "make check   set up, run ruff, pyright and import-linter"
	@echo "make docs    set up, build the documentation into site/"
	@echo "make bench   set up, measure training against its peers"
	@echo "make clean   remove the virtual environment, the documentation and the demo"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/anogen reproduce --quick --out $(DEMO)

test: .venv/installed
	$(BIN)/pytest -n 2

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/peers: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt cloudpickle imageio pydantic tqdm
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps pythae==0.1.2
	@touch $@

bench: .venv/peers
	$(BIN)/python benchmarks/training.py

clean:
	rm -rf .venv site $(DEMO)
