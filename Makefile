# make test | test-all | test-gpu-session | test-slurm | lint | docs | tutorial | wheel | demo | bench | gpu-plan; each sets up .venv by itself. PYTHON chooses the interpreter: make test PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TASK ?= finger-spin
PLAN ?= --programs update
GPU := .venv-gpu

.PHONY: test test-all test-gpu-session test-slurm lint docs tutorial wheel demo bench gpu-plan clean

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]' --constraint constraints.txt
	$(BIN)/python -c 'import dm_control' 2>/dev/null || $(BIN)/python -m pip install --quiet --no-deps dm_control --constraint constraints.txt
	touch $@

SUITE := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs

# All tests but those that are marked long: whole programs, and updates in every form. test-all has them too.
test: $(VENV)/.ready
	$(SUITE) -m 'not long'

test-all: $(VENV)/.ready
	$(SUITE)

# The whole path of benchmarks/gpu_session.sh at tiny size, on a CPU.
test-gpu-session: $(VENV)/.ready
	GPU_SESSION=tiny $(BIN)/python -m pytest tests/benchmarks/test_gpu.py -k sitting -rs

# As root, on Debian: a SLURM of one node, started and ended by the test.
test-slurm: $(VENV)/.ready
	command -v slurmctld >/dev/null && command -v munged >/dev/null || apt-get install --yes --no-install-recommends slurm-wlm munge
	$(BIN)/python -m pytest tests/sweeps/test_slurm.py -rs

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

# The documentation, into site/; open site/index.html.
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Executes the tutorial's notebook and keeps its outputs, which the site shows.
tutorial: $(VENV)/.ready
	$(BIN)/python docs/run_tutorial.py

# The wheel, and a test of it: installed outside of the checkout it passes doctor and trains.
wheel: $(VENV)/.ready
	rm -rf dist
	$(BIN)/python -m build
	WHEEL=install $(BIN)/python -m pytest tests/test_wheel.py -rs

demo: $(VENV)/.ready
	$(BIN)/sobolev train $(TASK) --preset demo --run runs/demo
	$(BIN)/sobolev evaluate runs/demo --episodes 10 --video runs/demo/episode.mp4
	@echo "learning curve: runs/demo/curve.png"

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/updates.py --sizes 1m 12m --penalty --breakdown --write
	$(BIN)/python benchmarks/penalty.py --size 12m --write

# What a GPU would execute, compiled without one; PLAN has the flags: make gpu-plan PLAN="--programs all --write".
gpu-plan: $(GPU)/.ready
	$(GPU)/bin/python benchmarks/gpu_plan.py $(PLAN)

$(GPU)/.ready: pyproject.toml constraints.txt
	@echo "makes $(GPU), with jax[cuda13]: downloads and unpacks 5 GB"
	$(PYTHON) -c 'import sys; sys.exit("gpu-plan needs Python 3.12 or later: give PYTHON=python3.12" if sys.version_info < (3, 12) else 0)'
	test -x $(GPU)/bin/python || $(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet --editable . 'jax[cuda13]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .venv-gpu .venv-newest site .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
