# `make demo` and `make test` are all a new user needs; both install first when something changed: the very versions
# in constraints.txt, which is the set that was tested.
PYTHON ?= python3
EXTRAS := dev,ocr-offline,encoder-offline,ui
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BATCH := demo
FRAMES := 600
SUBJECTS := 45

.PHONY: .venv demo test test-slow test-newest types lock ui lint clean

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

# The newest versions that pyproject.toml allows, written down; try them with `make test` before you keep the file.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade pip
	.venv-lock/bin/pip install --quiet -e '.[$(EXTRAS)]'
	.venv-lock/bin/pip freeze --exclude-editable > constraints.txt
	rm -rf .venv-lock

demo: $(STAMP)
	$(BIN)/fusc init
	$(BIN)/fusc phantom data/inbox/$(BATCH) --frames $(FRAMES) --subjects $(SUBJECTS)
	$(BIN)/fusc add-batch data/inbox/$(BATCH)
	$(BIN)/fusc run --batch $(BATCH) --preset demo
	@echo "open data/report.html"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dagster definitions validate -w workspace.yaml
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --durations=20

types: $(STAMP)
	$(BIN)/mypy

# Once a week, say: what the newest packages would break, in a venv of its own.
test-newest:
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade pip
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager -e '.[$(EXTRAS)]'
	OMP_NUM_THREADS=1 .venv-newest/bin/pytest -n auto --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

ui: $(STAMP)
	$(BIN)/fusc init
	$(BIN)/fusc ui

lint: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf data .dagster_state
