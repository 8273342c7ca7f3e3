# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo ui test conformance check format screenshots clean help

help:
	@echo "make demo         two local orgs, the demo migration, its checks and a report"
	@echo "make ui           the Dagster UI on the demo's instance and orgs"
	@echo "make test         the tests        make check   lint and types"
	@echo "make conformance  the local org against simple-salesforce, jsforce and the sf CLI (needs npm for the last two)"
	@echo "make screenshots  pictures of the UI into docs/images (needs chromium)"
	@echo "make clean        forget the demo's orgs, store and Dagster history"

demo: $(STAMP)
	@$(BIN)/isync demo $(ARGS)

ui: $(STAMP)
	@$(BIN)/isync ui --demo $(ARGS)

test: $(STAMP)
	@$(BIN)/pytest -q -n 2 --dist worksteal $(ARGS)

conformance: $(STAMP)
	@sh scripts/conformance.sh $(BIN) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check isync_dagster isync_dagster_tests scripts
	$(BIN)/ruff format --check isync_dagster isync_dagster_tests scripts
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix isync_dagster isync_dagster_tests scripts
	$(BIN)/ruff format isync_dagster isync_dagster_tests scripts

screenshots: $(STAMP)
	$(BIN)/python scripts/screenshots.py $(ARGS)

clean:
	rm -rf .isync

$(STAMP): setup.cfg requirements.lock scripts/make_venv.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/make_venv.sh
	@touch $(STAMP)
