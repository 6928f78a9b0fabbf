# Each command does all its own set-up on a Debian 12 that has nothing but git and make.

BUILD   ?= build
# The tests run what is compiled with AddressSanitizer and UndefinedBehaviorSanitizer. Of the latter
# without the checks of each use of a pointer, which double the time of compiling: a null pointer and
# most of what is out of bounds AddressSanitizer sees as well; a wrong dynamic type or alignment only
# the fuzzers' build does, in what they run through. -Og compiles as fast as -O0.
# Four files of a target are compiled as one (unity_size): that halves the time, most of which goes into
# templates that each file compiles anew. Two of them must not have the same name in an unnamed
# namespace; then one of them changes its place in the list of its meson.build. And doctest's checks are
# a call each; one that throws is told by the name of its case alone, where `make debug` has the line.
# g++ takes what a file keeps to itself for a header's then (subobject-linkage). The other builds compile
# each file by itself.
TEST_BUILD   ?= build-test
UNCHECKED    := -fno-sanitize=null,alignment,object-size,vptr,pointer-overflow,nonnull-attribute,returns-nonnull-attribute
TEST_OPTIONS := -Db_sanitize=address,undefined -Doptimization=g -Ddebug=true --unity=on -Dunity_size=4 \
                '-Dcpp_args=["-g1","-Wno-subobject-linkage","-DDOCTEST_CONFIG_SUPER_FAST_ASSERTS","$(UNCHECKED)"]'
# And once more with ThreadSanitizer, the unit and actor tests only; it needs g++.
THREAD_BUILD   ?= build-thread
THREAD_OPTIONS := -Db_sanitize=thread -Doptimization=0 -Ddebug=true -Dcpp_args=-g1 -Dbenchmarks=false

# What the fuzzers run, compiled with clang, which brings them; g++ is the judge of warnings.
# SECONDS: how long each target runs; TARGET: the targets, all unless some are named.
FUZZ_BUILD   ?= build-fuzz
FUZZ_OPTIONS := -Dfuzz=true -Dtests=false -Dwerror=false -Db_lundef=false -Db_sanitize=address,undefined \
                -Doptimization=1 -Ddebug=true -Dcpp_args=-g1
SECONDS      ?= 60
TARGET       ?=

# What a debugger shows best: every variable, no sanitizer that leaves its marks. ONLY: the tests.
DEBUG_BUILD   ?= build-debug
DEBUG_OPTIONS := -Doptimization=0 -Ddebug=true
ONLY          ?=
export ONLY

PYTHON  := /usr/bin/python3
SOURCES  = $(shell find src test -name '*.cpp' -o -name '*.hpp')
SCRIPTS  = $(shell grep -rlE '^\#!/usr/bin/env bash' test/platform .ci)

# The Python programs find the executable there, and leave no __pycache__ in the tree.
export MATRIARCH_BUILD := $(abspath $(BUILD))
export PYTHONDONTWRITEBYTECODE := 1

# How long to soak, the rounds of kills, and the seed of both (a random one, which is told, unless set).
MINUTES ?= 30
ROUNDS  ?= 50

.PHONY: help demo test up configured program build test-configured test-build test-threads debug check bench \
        soak crowd kills hostile outages fuzz packages format

help:
	@echo 'make demo      the whole story on a local platform: create, bind, grow, move, fail over, rebuild, remove'
	@echo 'make test      every test: unit, http, actors, integration, end to end, with ASan and UBSan; what CI runs'
	@echo "               with ONLY='words of its name' one of them, or ONLY=unit-model, ONLY=plan_test, ONLY=move"
	@echo "make debug     the same tests in gdb, with ONLY='words of its name'"
	@echo 'make up        the same platform in the foreground, the broker at http://localhost:3000;'
	@echo '               with BROKERS=2 two of them, behind HAProxy'
	@echo 'make build     compile to $(BUILD)/'
	@echo 'make check     what CI runs, and format, lint, and the unit and actor tests with ThreadSanitizer'
	@echo 'make fuzz      each fuzz target for a minute, or with SECONDS=600 TARGET=osb otherwise'
	@echo 'make bench     what it reaches, beside what it shall reach'
	@echo 'make outages   what an outage of each part looks like, measured; a quarter of an hour'
	@echo 'make soak      clusters made, changed and deleted while everything is killed (MINUTES=30 SEED=)'
	@echo 'make crowd     1,000 provisions at once, on simulated cells that fail'
	@echo 'make hostile   100,000 aborted requests and floods of all kinds, with the memory that they take'
	@echo 'make kills     kill -9 of the broker in the middle of each workflow (ROUNDS=50 SEED=)'
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

test-configured: packages
	@[ -f $(TEST_BUILD)/build.ninja ] || meson setup $(TEST_BUILD) $(TEST_OPTIONS)

test-build: test-configured
	@ninja -C $(TEST_BUILD)

ifeq ($(ONLY),)
test: test-build
	@MATRIARCH_BUILD=$(abspath $(TEST_BUILD)) $(PYTHON) test/platform/run_tests.py
else
test: test-configured
	@MATRIARCH_BUILD=$(abspath $(TEST_BUILD)) $(PYTHON) test/platform/one_test.py
endif

debug: packages
	@test/platform/install-packages debug
	@[ -f $(DEBUG_BUILD)/build.ninja ] || meson setup $(DEBUG_BUILD) $(DEBUG_OPTIONS)
	@UNDER='gdb -q --args' MATRIARCH_BUILD=$(abspath $(DEBUG_BUILD)) $(PYTHON) test/platform/one_test.py

# `meson test` compiles what these tests need.
test-threads: packages
	@[ -f $(THREAD_BUILD)/build.ninja ] || CXX=g++ meson setup $(THREAD_BUILD) $(THREAD_OPTIONS)
	@MATRIARCH_BUILD=$(abspath $(THREAD_BUILD)) $(PYTHON) test/platform/run_tests.py unit actors

up: program
	@BROKERS=$(BROKERS) $(PYTHON) test/platform/up.py

bench: build
	@$(PYTHON) test/bench/bench.py

fuzz: packages
	@test/platform/install-packages fuzz
	@[ -f $(FUZZ_BUILD)/build.ninja ] || CXX=clang++-14 meson setup $(FUZZ_BUILD) $(FUZZ_OPTIONS)
	@ninja -C $(FUZZ_BUILD) fuzzers
	@MATRIARCH_BUILD=$(abspath $(FUZZ_BUILD)) $(PYTHON) test/fuzz/fuzz.py --seconds $(SECONDS) $(TARGET)

outages: program
	@test/platform/install-packages outages
	@$(PYTHON) test/bench/outages.py $(OUTAGES)

soak: program
	@$(PYTHON) test/e2e/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

crowd: program
	@$(PYTHON) test/e2e/crowd.py

hostile: program
	@$(PYTHON) test/bench/hostile.py

kills: program
	@$(PYTHON) test/e2e/kills.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

check: packages
	@test/platform/install-packages check
	clang-format --dry-run -Werror $(SOURCES)
	shellcheck $(SCRIPTS)
	@$(PYTHON) test/platform/lint.py
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-threads

format:
	@test/platform/install-packages check
	clang-format -i $(SOURCES)
