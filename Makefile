# Every target works from a clean clone: the virtual environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check unit docs bench soak clean

help:  ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,docs]'
	touch $(READY)

demo: $(READY)  ## verify a reward, fine-tune the base model, compare, write a report (5 minutes)
	$(BIN)/python examples/demo.py

test: check unit docs  ## every check: style, types, import directions, tests, documentation

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/pytest -n 2

docs: $(READY)  ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W -n --keep-going -q docs docs/_build/html

bench: $(READY)  ## the long comparison: 300 s of tuning, DPS at equal wall time (about half an hour)
	$(BIN)/python benchmarks/poisson.py

soak: $(READY)  ## break it on purpose: kills, damage, NaN, full disks, 100,000 updates (some minutes)
	PIRF_SOAK=3000 OMP_NUM_THREADS=1 $(BIN)/pytest tests/soak tests/denoisers/test_pickles.py

clean:  ## remove the virtual environment and everything built
	rm -rf $(VENV) docs/_build docs/api/generated dist runs
