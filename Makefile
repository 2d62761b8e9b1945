# make demo: register the sample pair and write a report.  make test: check style, types and run all tests.
# make screenshots: take the pictures of the module's panel anew.  make report-screenshots: those of the report.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIBRARY_STAMP := $(VENV)/.installed-library
STAMP := $(VENV)/.installed
STAND_IN_TESTS := slicer_app scene widgets end_to_end
PYTEST := $(BIN)/python -m pytest --durations=10

.PHONY: demo test types test-slicer test-engine test-training test-worker test-rest screenshots report-screenshots clean

demo: $(LIBRARY_STAMP)
	@echo "== Registering the sample case (two CT scans of one lung, 35 mm apart as loaded)"
	$(BIN)/deeplargedeformreg demo --output demo-output

test: $(STAMP)
	$(BIN)/ruff check .
	@echo "== Types and tests, two processes at a time, the longest first: a process holds only one stand-in application"
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --output-sync=target -j2 \
		test-engine test-slicer test-training test-rest test-worker types

types: $(STAMP)
	$(BIN)/mypy

test-slicer: $(STAMP)
	$(PYTEST) $(addprefix Testing/,$(STAND_IN_TESTS))

test-engine: $(STAMP)
	$(PYTEST) Testing/engine Testing/report

test-training: $(STAMP)
	$(PYTEST) Testing/training

test-worker: $(STAMP)
	$(PYTEST) Testing/worker

test-rest: $(STAMP)
	$(PYTEST) $(addprefix --ignore Testing/,engine report training worker $(STAND_IN_TESTS))

screenshots: $(STAMP)
	@echo "== Pictures of the panel, from a run on the sample case"
	$(BIN)/python -m Testing.end_to_end.screenshots

$(LIBRARY_STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.10 to 3.13 is needed; install it or run make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { echo "Python 3.10 to 3.13 is needed; run make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "== Installing into $(VENV) (a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(STAMP): $(LIBRARY_STAMP)
	@echo "== Installing what the tests need"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,training]"
	@touch $@

report-screenshots: $(STAMP)
	@echo "== Pictures of the report of the sample case"
	$(BIN)/python -m Testing.report.screenshots

clean:
	rm -rf $(VENV) demo-output build
