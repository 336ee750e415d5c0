# `make demo` and `make test` are all a new user needs; both install first when something changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BATCH := demo
FRAMES := 600
SUBJECTS := 45

.PHONY: .venv demo test test-slow ui lint clean

.venv: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev,ocr-offline,ui]'
	touch $@

demo: $(STAMP)
	$(BIN)/fusc init
	$(BIN)/fusc phantom data/inbox/$(BATCH) --frames $(FRAMES) --subjects $(SUBJECTS)
	$(BIN)/fusc add-batch data/inbox/$(BATCH)
	$(BIN)/fusc run --batch $(BATCH) --preset demo
	@echo "open data/report.html"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/dagster definitions validate -w workspace.yaml
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

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
