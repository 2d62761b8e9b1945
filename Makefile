# make demo: register the sample pair and write a report.  make test: check style, types and run all tests.
# make screenshots: take the pictures of the module's panel anew.  make report-screenshots: those of the report.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIBRARY_STAMP := $(VENV)/.installed-library
STAMP := $(VENV)/.installed
STAND_IN_TESTS := slicer_app scene widgets end_to_end

.PHONY: demo test test-library test-training test-slicer screenshots lint report-screenshots clean

demo: $(LIBRARY_STAMP)
	@echo "== Registering the sample case (two CT scans of one lung, 35 mm apart as loaded)"
	$(BIN)/deeplargedeformreg demo --output demo-output

test: $(STAMP)
	@echo "== Style and types"
	$(BIN)/ruff check .
	$(BIN)/mypy
	@echo "== Tests, two processes at a time: a process holds only one stand-in application"
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --output-sync=target -j2 test-library test-training test-slicer

test-library: $(STAMP)
	$(BIN)/python -m pytest --durations=15 $(addprefix --ignore Testing/,training $(STAND_IN_TESTS))

test-training: $(STAMP)
	$(BIN)/python -m pytest --durations=10 Testing/training

test-slicer: $(STAMP)
	$(BIN)/python -m pytest --durations=10 $(addprefix Testing/,$(STAND_IN_TESTS))

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
