# The two commands of the workspace are `make demo` and `make test`; each does all the set-up that it needs.
# `make help` lists the rest. PYTHON=... chooses the interpreter (3.10-3.13) of a new set-up.

SHELL := /bin/bash
PYTHON ?= python3
PACKAGES := roboalign_msgs roboalign_policy roboalign_training
RESULTS := $(addprefix log/test/,units/roboalign_policy nodes_1/roboalign_policy nodes_2/roboalign_policy \
    learning/roboalign_training)
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

# Four lanes side by side. Two start nodes, wait more than they compute and are held to times; each of
# these has a part of tests/ros by the first letters (record_ in the first). Of the two that compute the
# short one gives way to all others.
define colcon_test
$(3) colcon --log-base log/test/$(1) test --test-result-base log/test/$(1) --packages-select $(2)
endef
LEARNING := $(call colcon_test,learning,roboalign_training)
UNITS := $(call colcon_test,units,roboalign_policy,nice -n 5) --pytest-args \
    --ignore-glob '$(CURDIR)/tests/launch/*' --ignore-glob '$(CURDIR)/tests/ros/*'
NODES_1 := $(call colcon_test,nodes_1,roboalign_policy) --pytest-args \
    --ignore-glob '$(CURDIR)/tests/policy/*' --ignore-glob '$(CURDIR)/tests/ros/test_[!a-pr]*' \
    --ignore-glob '$(CURDIR)/tests/ros/test_r[!e]*' --ignore-glob '$(CURDIR)/tests/ros/test_re[!c]*' \
    --ignore-glob '$(CURDIR)/tests/ros/test_recor[!d]*' --ignore-glob '$(CURDIR)/tests/ros/test_record[!_]*'
NODES_2 := $(call colcon_test,nodes_2,roboalign_policy) --pytest-args \
    --ignore-glob '$(CURDIR)/tests/policy/*' --ignore-glob '$(CURDIR)/tests/launch/*' \
    --ignore-glob '$(CURDIR)/tests/ros/test_[a-p]*' --ignore-glob '$(CURDIR)/tests/ros/test_record_*'

# Tests start hundreds of processes, and where Python may not write bytecode each would compile our modules.
test: build ## every test, through colcon test; ends with "N passed, N failed, N skipped"
	@rm -rf log/test && mkdir -p log/test
	@.venv/bin/python -m compileall -q roboalign_policy/roboalign_policy roboalign_training/roboalign_training
	@$(WITH_ENV) { \
	    $(LEARNING) > log/test/learning_lane.txt 2>&1 & learning=$$!; \
	    $(UNITS) > log/test/units_lane.txt 2>&1 & units=$$!; \
	    $(NODES_1) > log/test/nodes_1_lane.txt 2>&1 & nodes=$$!; \
	    status=0; $(NODES_2) || status=$$?; \
	    wait $$learning || status=$$?; wait $$units || status=$$?; wait $$nodes || status=$$?; \
	    cat log/test/learning_lane.txt log/test/units_lane.txt log/test/nodes_1_lane.txt; \
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
