# make book · test · serve · bench · nbgrader · lint · clean.   Another Python for the first set-up: make PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin

# One thread for each process: chapters and tests run side by side.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: book test serve bench nbgrader lint clean install

book: install
	@$(BIN)/course book build

test: lint book
	@$(BIN)/python -m pytest -n 2 --dist loadscope

serve: install
	@$(BIN)/course book serve

bench: install
	@$(BIN)/python -m pip install -q --constraint requirements.txt --editable ".[bench]"
	@env -u OMP_NUM_THREADS -u MKL_NUM_THREADS -u OPENBLAS_NUM_THREADS $(BIN)/python tests/benchmarks/bench.py

nbgrader: install
	@$(PYTHON) course_lib/bootstrap.py nbgrader

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/course book check

clean:
	@rm -rf _build

install:
	@$(PYTHON) course_lib/bootstrap.py
