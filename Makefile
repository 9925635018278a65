# `make demo` and `make test` need nothing but Python 3.11 or later; they set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
DEMO := results-quick
BENCH := runs/bench

.PHONY: demo test test-plain check package docs bench bench-quick clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up, reproduce the paper in small, in some ten minutes; prints its page"
	@echo "make test    set up, run the tests"
	@echo "make test-plain   the tests as on a plain machine: AVX2 only, no C++ compiler, no Chromium"
	@echo "make check   set up, run ruff, pyright and import-linter"
	@echo "make package   build a wheel and an sdist, and try each in an empty environment"
	@echo "make docs    set up, build the documentation into site/"
	@echo "make bench   set up, measure speed and memory beside other libraries; writes docs/performance.md"
	@echo "make bench-quick   the same in some three minutes, roughly, into $(BENCH)"
	@echo "make clean   remove the virtual environment, the documentation, the demo and quick measurements"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/anogen reproduce --quick --out $(DEMO)

test: .venv/installed
	$(BIN)/pytest -n 2

test-plain: .venv/installed
	CHROMIUM= CXX=/bin/false ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest -n 2

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

package: .venv/installed
	rm -rf dist
	$(BIN)/python -m hatchling build > /dev/null
	for made in dist/*.whl dist/*.tar.gz; do \
	  $(PYTHON) -m venv --clear .venv-package && \
	  .venv-package/bin/pip install --quiet --disable-pip-version-check -c constraints.txt $$made && \
	  (cd / && $(CURDIR)/.venv-package/bin/python $(CURDIR)/tests/check_package.py) || exit 1; \
	done
	rm -rf .venv-package

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/peers: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt cloudpickle imageio numba pydantic tqdm
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps pythae==0.1.2 pyod==3.6.7 pytorch-lightning==2.6.6 zuko==1.6.0
	@touch $@

bench: .venv/peers
	$(BIN)/python benchmarks/training.py --out docs/results/training_throughput.json
	$(BIN)/python benchmarks/layers.py --out docs/results/layers.json
	$(BIN)/python benchmarks/scoring.py --out docs/results/scoring_throughput.json
	$(BIN)/python benchmarks/startup.py --out docs/results/startup.json
	$(BIN)/python benchmarks/growth.py --out docs/results/growth.json --picture docs/results/growth.png
	$(BIN)/python benchmarks/results_page.py

bench-quick: .venv/peers
	$(BIN)/python benchmarks/training.py --images 960 --repetitions 1 --batches 32 --out $(BENCH)/training.json
	$(BIN)/python benchmarks/layers.py --repetitions 1 --out $(BENCH)/layers.json
	$(BIN)/python benchmarks/scoring.py --images 1000 --repetitions 1 --out $(BENCH)/scoring.json
	$(BIN)/python benchmarks/startup.py --repetitions 3 --out $(BENCH)/startup.json
	$(BIN)/python benchmarks/growth.py --quick --out $(BENCH)/growth.json --picture $(BENCH)/growth.png

clean:
	rm -rf .venv .venv-package dist site $(DEMO) $(BENCH)
