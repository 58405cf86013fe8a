# Everything a fresh clone needs. `make pipeline` and `make test` set themselves up; nothing is asked.
VENV ?= .venv
PYTHON ?= python3
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export NAME  # of `keep`; the shell reads it itself, so that no quote or blank in it becomes part of a command
WORKERS ?= 2

.PHONY: pipeline test test-all check format dag keep clean

pipeline: $(INSTALLED)  ## Run every stage that is out of date, from sources to report.
	@python -m tasks.pipeline

test: $(INSTALLED)  ## All tests that take seconds.
	@OMP_NUM_THREADS=1 python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(INSTALLED)  ## The slow ones too: kills, engines, Prefect workers, a real judge.
	@OMP_NUM_THREADS=1 python -m pytest -n $(WORKERS) --dist worksteal

check: $(INSTALLED)  ## Formatting, lint and types.
	@ruff format --check . && ruff check . && mypy

format: $(INSTALLED)
	@ruff format . && ruff check --fix .

dag: $(INSTALLED)  ## The graph as Mermaid, as it stands in the README.
	@dvc dag --mermaid

keep:  ## Copy what explains this run's numbers to docs/results/$(NAME), small enough to commit.
	@case "$$NAME" in \
	    "") echo "say what the run is called: make keep NAME=my-run" >&2; exit 2;; \
	    .*|*[!A-Za-z0-9._-]*) echo "NAME is letters, digits, '-', '_' and '.', and begins with no dot" >&2; exit 2;; \
	esac
	@mkdir -p "docs/results/$$NAME"
	@tar --exclude=.gitignore --exclude=log.lock -cf - params.yaml dvc.lock reports data/statements | tar -xf - -C "docs/results/$$NAME"
	@echo "docs/results/$$NAME"

clean:  ## Remove the environment and work in progress; data and reports stay.
	rm -rf $(VENV) .work .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED):
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked environment into $(VENV) (a few minutes the first time) ..."
	@python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-* && touch $@
