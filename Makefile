# The two commands of the workspace are `make demo` and `make test`; each does all the set-up that it needs.
# `make help` lists the rest. PYTHON=... chooses the interpreter (3.10-3.13) of a new set-up.

SHELL := /bin/bash
PYTHON ?= python3
PACKAGES := roboalign_msgs roboalign_policy roboalign_training
RESULTS := build/roboalign_policy build/roboalign_training
WITH_ENV := source scripts/env.sh &&

# What colcon must see again. Python modules are not among it: they are installed as links and are live.
# Folders count too, so that a file taken away is noticed.
BUILD_INPUTS := $(shell find roboalign_msgs launch $(wildcard roboalign_*/config) -not -name '*.pyc' -not -name __pycache__) \
    $(foreach file,package.xml setup.py setup.cfg,$(wildcard roboalign_*/$(file))) \
    $(wildcard roboalign_*/bin/* roboalign_*/resource/*) colcon.meta scripts/colcon-defaults.yaml

.DEFAULT_GOAL := help
.PHONY: help setup build test test-busy demo lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## virtual environment, ROS 2 and system packages; repairs what is broken, does nothing when all is there
	@$(PYTHON) scripts/setup_workspace.py

.venv/roboalign.env: setup
	@test -f $@

install/.built: .venv/roboalign.env $(BUILD_INPUTS)
	@$(WITH_ENV) colcon build
	@touch $@

build: install/.built ## colcon build of the three packages

# The tests of roboalign_training start no node: they run beside the pure ones of roboalign_policy.
test: build ## every test, through colcon test; ends with "N passed, N failed, N skipped"
	@rm -f $(addsuffix /pytest.xml,$(RESULTS)) && mkdir -p log
	@$(WITH_ENV) { \
	    colcon --log-base log/training test --packages-select roboalign_training > log/training.txt 2>&1 & \
	    colcon test --packages-skip roboalign_training; status=$$?; \
	    wait $$! || status=$$?; cat log/training.txt; \
	    $(PYTHON) scripts/summarise_tests.py $(RESULTS) && exit $$status; }

test-busy: build ## make test beside three busy loops: tests hold on a machine that is busy
	@$(PYTHON) scripts/beside_busy_loops.py 3 $(MAKE) test

demo: build ## record, learn and drive in the simulator; writes out/demo/report.html
	@$(WITH_ENV) roboalign demo

lint: setup ## ruff check and ruff format --check
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

format: setup ## let ruff sort imports and format
	@.venv/bin/ruff check --fix --select I . && .venv/bin/ruff format .

clean: ## remove what set-up, build and tests made (out/, with data and runs, stays)
	rm -rf .venv .cache build install log
	find . -name __pycache__ -o -name .pytest_cache -o -name .ruff_cache -o -name .hypothesis | xargs -r rm -rf
	find roboalign_* -name '*.egg-info' | xargs -r rm -rf
