# Every target works alone, from a fresh clone. Packages go to .venv, and are installed again only when
# pyproject.toml or constraints.txt change; after that no target needs the network.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

WAY_OUT = choose another with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: compare
compare: $(VENV)/runtime.stamp  ## Compare the platforms: runs the main experiment and draws its charts.
	$(BIN)/python experiments/compare_platforms.py $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m simvirt.cli report results/compare_platforms)

.PHONY: all-experiments
all-experiments: $(VENV)/runtime.stamp  ## Run every experiment that is not answered yet; write answers and the gallery.
	$(BIN)/python -m experiments $(ARGS)

.PHONY: validate
validate: $(VENV)/runtime.stamp  ## Predict the published tables and compare: tables and charts in results/validation.
	@mkdir -p results/validation
	$(BIN)/python -m simvirt.cli validate --csv results/validation/rows.csv --summary results/validation/summary.csv \
	    --charts results/validation/charts $(ARGS)

.PHONY: test
test: $(VENV)/test.stamp  ## Run the tests; choose some with: make test ARGS="-k cpu".
	$(BIN)/python -m pytest -n auto $(ARGS)

.PHONY: check
check: $(VENV)/dev.stamp  ## Check style (ruff) and types (mypy --strict).
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --strict

.PHONY: clean
clean:  ## Remove the environment, caches and built packages; results stay.
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An extra brings the runtime with it, so its stamp stands for both.
$(VENV)/runtime.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing simvirt into $(VENV)"
	@$(INSTALL) .
	@touch $@

$(VENV)/test.stamp $(VENV)/dev.stamp: $(VENV)/%.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing simvirt[$*] into $(VENV)"
	@$(INSTALL) '.[$*]'
	@touch $(VENV)/runtime.stamp $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found; simvirt needs Python 3.11 or newer: $(WAY_OUT)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "$(PYTHON) is $$($(PYTHON) -V); simvirt needs Python 3.11 or newer: $(WAY_OUT)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	    || { echo "$(PYTHON) cannot make environments; install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
