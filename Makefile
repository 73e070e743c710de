# `make demo` and `make test` work on a fresh machine: they create .venv, install, and run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := setup.cfg setup.py pyproject.toml constraints.txt $(wildcard bnas_face/packed/kernels/src/*)

.PHONY: demo test check clean help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

demo: $(VENV)/.demo  ## search, train, evaluate and report on rendered faces (no data needed, about 6 minutes on 2 cores)
	$(BIN)/bnasface demo

test: $(VENV)/.test  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: $(VENV)/.test  ## lint, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

clean:  ## remove the virtual environment and what builds left
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "bnas_face needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Say which: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(INPUTS)
	@echo "Installing bnas_face into $(VENV) (about 2 minutes the first time) …"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.test: $(BIN)/python $(INPUTS)
	@echo "Installing bnas_face and its test tools into $(VENV) (about 2 minutes the first time) …"
	$(INSTALL) -e '.[onnx,test]'
	@touch $@
