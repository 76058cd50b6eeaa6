.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,test,dev,bench,docs]'
	touch $(STAMP)

venv: $(STAMP)  ## set up .venv with every extra

browser:  ## make sure there is a Chromium for the tests of pages
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  { echo 'the tests of pages need Chromium: install it (Debian: apt-get install chromium)'; exit 1; }

demo: $(STAMP)  ## the main job on generated data, and where its report is
	@mkdir -p runs
	@$(BIN)/python -c 'from polyculture.datasets import write_instructions as w; w("runs/demo.jsonl", n=2000, seed=0)'
	$(BIN)/polyculture curate runs/demo.jsonl --text prompt --groups domain -k 200 -o runs/demo

test: $(STAMP) browser  ## set up and run the tests (under 8 minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(STAMP) browser  ## the slow tests too
	$(BIN)/python -m pytest -n 2 --dist loadfile -m ''

lint: $(STAMP)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## what CI runs

bench: $(STAMP)  ## measure beside the peers; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks --write docs/benchmarks.md

docs: $(STAMP)  ## build the documentation into site/
	$(BIN)/python docs/make.py
	$(BIN)/mkdocs build --strict

.PHONY: help venv browser demo test test-all lint check bench docs
