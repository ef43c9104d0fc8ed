# First `make demo` and `make test`. Both install into .venv first, pinned by the locks.
# The first interpreter that runs: a version manager's shim may exist without an interpreter.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
# Folder that may contain real weights. Without it, `make demo VIDEOS=…` downloads the published ones.
DATA ?= ../shared/data
VIDEOS ?=
# Checkout of github.com/rwightman/posenet-python, which `make bench` compares with.
POSENET_PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
UV_INSTALL := VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet

.PHONY: demo test test-all chaos fuzz bench reference lint format docs hooks lock edge-cpu edge-stick clean help

help:            ## list these commands
	@grep -hE '^[a-z -]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

$(BIN)/uv: deployments/locks/bootstrap.lock
	@test -n "$(PYTHON)" || { echo "No python3 was found. Install Python 3.11 or 3.12 (and python3-venv)."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"{sys.executable} is Python {v[0]}.{v[1]}, and Nightjar needs 3.11 or 3.12. Run make PYTHON=/path/to/python3.12.")'
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed. On Debian and Ubuntu, install python3-venv."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.runtime: deployments/locks/runtime.lock pyproject.toml $(BIN)/uv
	@echo "Installing the dependencies (about 3.5 GB, a few minutes the first time)"
	$(UV_INSTALL) --require-hashes --compile-bytecode -r $<
	$(UV_INSTALL) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	$(BIN)/python -m deployments.prefect_database
	@touch $@

$(VENV)/.dev: deployments/locks/dev.lock $(VENV)/.runtime
	$(UV_INSTALL) --require-hashes --compile-bytecode -r $<
	@touch $@

demo: $(VENV)/.runtime  ## install, then turn a few videos into SQL rows (VIDEOS=folder for your own)
	$(BIN)/nightjar demo --data "$(DATA)" $(if $(VIDEOS),--videos "$(VIDEOS)")

# Each file runs in one process, as its tests share servers. The slowest files come first (tests/conftest.py).
# Four processes for two cores, as tests also wait for leases, polls and servers that start. Each process takes up to
# 3 GB, with its own PostgreSQL and Prefect server.
PROCESSES ?= 4
PYTEST = $(BIN)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev  ## install, then run all tests except the slow ones, in four processes (PROCESSES=8 for four cores)
	$(PYTEST) -m "not slow"

test-all: lint  ## lint, then run every test: before a merge and in CI
	$(PYTEST)

chaos: $(VENV)/.dev  ## kill a fleet 200 times and decoders of local nights 40 times, and compare every row (half an hour and more)
	$(BIN)/python -m tests.chaos --kills 200

fuzz: $(VENV)/.dev  ## read 14,000 damaged videos, pictures, models, results and messages (a quarter of an hour)
	$(BIN)/python -m tests.fuzz

bench: $(VENV)/.dev  ## measure this machine in a quarter of an hour, print ratios, and write docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks $(if $(POSENET_PYTHON),--posenet-python "$(POSENET_PYTHON)")

reference: $(VENV)/.dev  ## measure the published models in five minutes, for models/data/reference.json (DATA=folder)
	NIGHTJAR_TEST_DATA="$(DATA)" $(BIN)/python -m tests.benchmarks.compare_models
	$(BIN)/python -m deployments.reference

lint: $(VENV)/.dev  ## run ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --cache-dir .mypy_cache/310 $(EDGE_MODULES)
	$(BIN)/lint-imports

# Modules that the Python 3.10 of a worker with a stick imports.
EDGE_MODULES := deployments/cli.py deployments/worker.py flows/infer_assignment.py tasks/fleet/worker.py

format: $(VENV)/.dev  ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev  ## write the generated parts of docs/: commands, settings, models, index of decisions
	$(BIN)/python -m deployments.reference

hooks: $(VENV)/.dev  ## let git check what it commits: ruff, mypy, import contracts, generated documents
	$(BIN)/pre-commit install

lock: $(BIN)/uv  ## resolve the dependencies again
	cd deployments/locks && ../../$(BIN)/uv pip compile $(LOCK_OPTIONS) bootstrap.in -o bootstrap.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) pyproject.toml -o deployments/locks/runtime.lock
	$(BIN)/uv pip compile $(LOCK_OPTIONS) pyproject.toml --extra dev -c deployments/locks/runtime.lock -o deployments/locks/dev.lock
	$(BIN)/uv pip compile $(EDGE_LOCK_OPTIONS) --python-version 3.11 --python-platform aarch64-manylinux_2_36 deployments/locks/edge-cpu.in -o deployments/locks/edge-cpu.lock
	$(BIN)/uv pip compile $(EDGE_LOCK_OPTIONS) --python-version 3.10 --python-platform aarch64-manylinux_2_31 deployments/locks/edge-stick.in -o deployments/locks/edge-stick.lock
	$(BIN)/uv pip compile $(EDGE_LOCK_OPTIONS) --python-version 3.10 --python-platform x86_64-manylinux_2_28 deployments/locks/stick.in -o deployments/locks/stick.lock
	$(BIN)/uv pip compile $(EDGE_LOCK_OPTIONS) --python-version 3.9 --python-platform x86_64-manylinux_2_28 deployments/locks/myriad.in -o deployments/locks/myriad.lock

# --no-header and --no-annotate keep registry addresses and paths out of the locks.
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# Resolved for a Pi, from wheels only, so that everything can be installed there. x86-64 uses the same versions, and the
# hashes cover the files of all platforms. --no-config: pyproject.toml allows no platform but the central machine's.
EDGE_LOCK_OPTIONS := --quiet --no-config --generate-hashes --no-header --no-annotate --only-binary :all:

edge-cpu edge-stick:  ## install a worker into .venv-edge-cpu or .venv-edge-stick, see docs/edge.md
	deployments/install-edge.sh $(@:edge-%=%) $(EDGE_PYTHON)

clean:           ## remove the installation and all created files
	rm -rf $(VENV) .nightjar
