# Everything a fresh clone needs. `make pipeline` and `make test` set themselves up; nothing is asked.
VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
RUN := "$(BIN)/python"
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export NAME  # of `keep`; the shell reads it itself, so that no quote or blank in it becomes part of a command
WORKERS ?= 2

.PHONY: pipeline test test-all check format dag keep clean

pipeline: $(INSTALLED)  ## Run every stage that is out of date, from sources to report.
	@exec $(RUN) -m tasks.pipeline

test: $(INSTALLED)  ## All tests that take seconds.
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(INSTALLED)  ## The slow ones too: kills, engines, Prefect workers, a real judge.
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist worksteal

check: $(INSTALLED)  ## Formatting, lint and types.
	@$(RUN) -m ruff format --check . && $(RUN) -m ruff check . && $(RUN) -m mypy

format: $(INSTALLED)
	@$(RUN) -m ruff format . && $(RUN) -m ruff check --fix .

dag: $(INSTALLED)  ## The graph as Mermaid, as it stands in the README.
	@$(RUN) -m dvc dag --mermaid

keep: $(INSTALLED)  ## Copy what explains this run's numbers to docs/results/$(NAME), small enough to commit.
	@$(RUN) -m tasks.keep "$$NAME"

clean:  ## Remove the environment and work in progress; data, reports and the answers of a paid judge stay.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
	@if test -d .work; then find .work -mindepth 1 -maxdepth 1 ! -name judge -exec rm -rf {} +; fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is " \
		+ sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	@test ! -e $(VENV) || test -e $(VENV)/pyvenv.cfg || { echo "$(VENV) is there, and no environment of Python"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(INSTALLED): $(VENV)/bin/python
	@echo "Installing the locked environment into $(VENV) (a few minutes the first time) ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-* && touch $@
