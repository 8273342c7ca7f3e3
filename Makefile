# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo ui test slow faults distributed browser conformance check format bench bench-locks bench-steps screenshots clean help

help:
	@echo "make demo         two local orgs, the demo migration, its checks and a report"
	@echo "make ui           the Dagster UI on the demo's instance and orgs"
	@echo "make test         the tests        make check   lint and types"
	@echo "make bench        the tool against the floor: ARGS=\"--rows 100000 1000000\""
	@echo "make bench-locks  rows that do not get a lock, by the order in which they are sent"
	@echo "make bench-steps  what a step costs under each executor"
	@echo "make slow         the longer tests of stop, retry, settle, rollback, killed runs"
	@echo "make faults       every fault at every point, and a random walk: the proof of docs/guarantees.md"
	@echo "make distributed  two Celery workers, redis, PostgreSQL, S3; one worker is killed: the proof of docs/deploy.md"
	@echo "make browser      a person at the Dagster UI and the report, in a real Chromium"
	@echo "make conformance  the local org against simple-salesforce, jsforce and the sf CLI (needs npm for the last two)"
	@echo "make screenshots  pictures of the UI into docs/images (needs chromium)"
	@echo "make clean        forget the demo's orgs, store and Dagster history"

demo: $(STAMP)
	@$(BIN)/isync demo $(ARGS)

ui: $(STAMP)
	@$(BIN)/isync ui --demo $(ARGS)

test: $(STAMP)
	@$(BIN)/pytest -q -n 2 --dist worksteal $(ARGS)

slow: $(STAMP)
	@$(BIN)/pytest -q -n 2 --dist worksteal -m slow isync_dagster_tests/migration isync_dagster_tests/cli \
		isync_dagster_tests/end_to_end $(ARGS)

faults: $(STAMP)
	@rm -rf .isync/faults && mkdir -p .isync/faults
	@ISYNC_FAULTS_BOARD="$(CURDIR)/.isync/faults" $(BIN)/pytest -q -n 2 --dist worksteal -m "slow or not slow" \
		isync_dagster_tests/faults $(ARGS)

distributed: $(STAMP)
	@sh scripts/distributed.sh $(BIN) $(ARGS)

browser: $(STAMP)
	@$(BIN)/pytest -q -n 0 -m "browser" isync_dagster_tests/browser isync_dagster_tests/report $(ARGS)

conformance: $(STAMP)
	@sh scripts/conformance.sh $(BIN) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check isync_dagster isync_dagster_tests benchmarks scripts
	$(BIN)/ruff format --check isync_dagster isync_dagster_tests benchmarks scripts
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix isync_dagster isync_dagster_tests benchmarks scripts
	$(BIN)/ruff format isync_dagster isync_dagster_tests benchmarks scripts

bench: $(STAMP)
	$(BIN)/python -m benchmarks.migration $(ARGS)

bench-locks: $(STAMP)
	$(BIN)/python -m benchmarks.locks $(ARGS)

bench-steps: $(STAMP)
	$(BIN)/python -m benchmarks.steps $(ARGS)

screenshots: $(STAMP)
	$(BIN)/python scripts/screenshots.py $(ARGS)

clean:
	rm -rf .isync

$(STAMP): setup.cfg requirements.lock scripts/make_venv.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/make_venv.sh
	@touch $(STAMP)
