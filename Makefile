# Each command does all its own set-up on a Debian 12 that has nothing but git and make.

BUILD   ?= build
PYTHON  := /usr/bin/python3
SOURCES  = $(shell find src test -name '*.cpp' -o -name '*.hpp')
SCRIPTS  = $(shell grep -rlE '^\#!/usr/bin/env bash' test/platform .ci)

# The Python programs find the executable there, and leave no __pycache__ in the tree.
export MATRIARCH_BUILD := $(abspath $(BUILD))
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo test up configured program build check bench outages packages format

help:
	@echo 'make demo      the whole story on a local platform: create, bind, grow, move, fail over, remove'
	@echo 'make test      every test: unit, http, actors, integration, end to end'
	@echo 'make up        the same platform in the foreground, the broker at http://localhost:3000;'
	@echo '               with BROKERS=2 two of them, behind HAProxy'
	@echo 'make build     compile to $(BUILD)/'
	@echo 'make check     what CI does, and format and lint'
	@echo 'make bench     what it reaches, beside what it shall reach'
	@echo 'make outages   what an outage of each part looks like, measured; about half an hour'
	@echo 'make format    apply .clang-format'
	@echo 'make packages  install what is missing (the others do so by themselves)'

packages:
	@test/platform/install-packages base

configured: packages
	@[ -f $(BUILD)/build.ninja ] || meson setup $(BUILD)

build: configured
	@ninja -C $(BUILD)

# The program alone: the demo need not wait for the tests to be compiled.
program: configured
	@ninja -C $(BUILD) matriarch

demo: program
	@$(PYTHON) test/platform/demo.py

test: build
	@$(PYTHON) test/platform/run_tests.py

up: program
	@BROKERS=$(BROKERS) $(PYTHON) test/platform/up.py

bench: build
	@test/platform/install-packages bench
	@$(PYTHON) test/bench/bench.py

outages: program
	@test/platform/install-packages outages
	@$(PYTHON) test/bench/outages.py $(OUTAGES)

check: build
	@test/platform/install-packages check
	clang-format --dry-run -Werror $(SOURCES)
	shellcheck $(SCRIPTS)
	@$(PYTHON) test/platform/lint.py
	@$(PYTHON) test/platform/run_tests.py

format:
	@test/platform/install-packages check
	clang-format -i $(SOURCES)
