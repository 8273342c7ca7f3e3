# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo ui test check format screenshots clean help

help:
	@echo "make demo         two local orgs, the demo migration, its checks and a report"
	@echo "make ui           the Dagster UI on the demo's instance and orgs"
	@echo "make test         the tests        make check   lint and types"
	@echo "make screenshots  pictures of the UI into docs/images (needs chromium)"
	@echo "make clean        forget the demo's orgs, store and Dagster history"

demo: $(STAMP)
	@$(BIN)/isync demo $(ARGS)

ui: $(STAMP)
	@$(BIN)/isync ui --demo $(ARGS)

test: $(STAMP)
	@$(BIN)/pytest -q -n 2 --dist worksteal $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check isync_dagster isync_dagster_tests scripts benchmarks
	$(BIN)/ruff format --check isync_dagster isync_dagster_tests scripts benchmarks
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix isync_dagster isync_dagster_tests scripts benchmarks
	$(BIN)/ruff format isync_dagster isync_dagster_tests scripts benchmarks

screenshots: $(STAMP)
	$(BIN)/python scripts/screenshots.py $(ARGS)

clean:
	rm -rf .isync

$(STAMP): setup.cfg requirements.lock scripts/make_venv.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/make_venv.sh
	@touch $(STAMP)
