# `make demo` condenses a data set and evaluates the result; `make test` runs everything that must hold, by two workers,
# `make test FILES=tests/studies/nas` a part of it, `make test-long` some of it at ten times the size, `make bench` the benchmarks.
# `make gpu` checks a machine with a GPU (docs/gpu.md): LIMIT=540 OUT=gpu, AUTHORS=DIR, ONLY=bench,cell, AGAIN=1;
# `make gpu DEVICE=cpu SCALE=0.01 CELLS=digits:1` rehearses it. It installs nothing.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
DEMO_HOME := $(CURDIR)/demo
GPU_PYTHON ?= $(or $(if $(VENV),$(wildcard $(VENV)/bin/python)),$(PYTHON))

.PHONY: demo test test-long bench gpu lint format reference clean
.DEFAULT_GOAL := demo

# What the demo needs; and what the checks need besides, extras included.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dsactl needs Python 3.11 or newer; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(INSTALL) '.[dev]'
	@touch $@

# On a store of its own, apart from yours. 150 of the paper's 1000 iterations: three minutes are short.
demo: export DSACTL_HOME := $(DEMO_HOME)
demo: $(INSTALLED)
	$(VENV)/bin/dsactl condense digits --ipc 1 --iterations 150
	$(VENV)/bin/dsactl condense digits --ipc 1 --method random
	$(VENV)/bin/dsactl evaluate digits-dsa-convnet-ipc1 --networks 5
	$(VENV)/bin/dsactl evaluate digits-random-ipc1 --networks 5
	@echo
	@echo "One synthetic image per class (150 of the paper's 1000 iterations), and one random real image per class:"
	@$(VENV)/bin/dsactl ls
	@echo "Stored set: digits-dsa-convnet-ipc1:1"
	@echo "Its picture: $(DEMO_HOME)/sets/_/digits-dsa-convnet-ipc1/1.png"

# A test that hangs is ended after ten minutes with a traceback; a worker that ends before its tests ends all.
test: lint
	$(VENV)/bin/python -m pytest -n 2 --no-loadscope-reorder --max-worker-restart=0 \
		-o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true $(FILES)

test-long: $(INSTALLED_DEV)
	$(VENV)/bin/python -m pytest -m long

bench: $(INSTALLED_DEV)
	$(VENV)/bin/python -m pytest benchmarks --benchmark-sort=fullname --benchmark-columns=median,min,max,rounds

gpu:
	@PYTHONPATH='$(CURDIR)'"$${PYTHONPATH:+:$$PYTHONPATH}" $(GPU_PYTHON) -m benchmarks.gpu \
		$(if $(LIMIT),--limit $(LIMIT)) $(if $(OUT),--out '$(OUT)') $(if $(DEVICE),--device $(DEVICE)) \
		$(if $(SCALE),--scale $(SCALE)) $(if $(CELLS),--cells $(CELLS)) $(if $(AUTHORS),--authors '$(AUTHORS)') \
		$(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

lint: $(INSTALLED_DEV)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(INSTALLED_DEV)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# What is made from the help texts.
reference: $(INSTALLED_DEV)
	$(VENV)/bin/python -m dsactl.cli.reference > docs/commands.md
	$(VENV)/bin/python -m dsactl.cli.man_page > docs/dsactl.1

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
