#!/usr/bin/python3
"""Runs the tests that ONLY names, and compiles nothing but what they need.

    ONLY='leader dies' one_test.py        each case and each scenario with these words in its name
    ONLY=repair_test one_test.py          the cases of a file
    ONLY=unit-model one_test.py           the cases of a program, as `meson test --list` calls it
    ONLY=move one_test.py                 the scenarios of a file of test/e2e

Words are looked for in every name, in any order, whatever their letters' case. UNDER is put
before the program: UNDER='gdb --args', UNDER='strace -f'. The words come by the environment, since
names have quotes that a shell would take for its own.
"""

import collections
import difflib
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import sanitizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MATRIARCH_BUILD", ROOT / "build"))
SCENARIOS = ROOT / "test/e2e/run.py"
CASE = re.compile(r'^TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)', re.MULTILINE)
TOGETHER = re.compile(r'^#include *[<"](.+)[>"]', re.MULTILINE)
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
# How many names are shown instead when a search finds nothing.
NAMES_SHOWN = 5

# A program of `meson test`, with how to build and start it.
Program = collections.namedtuple("Program", "name command environment outputs")
# A case of a program; `program` is None for a scenario.
Test = collections.namedtuple("Test", "program file title")


def described(what):
    """Meson's introspection data of the build directory."""
    return json.loads((BUILD / f"meson-info/intro-{what}.json").read_text())


def cases_in(text):
    """The names of the cases in a source file; clang-format breaks the long ones."""
    return [re.sub(r"\\(.)", r"\1", "".join(LITERAL.findall(literals))) for literals in CASE.findall(text)]


def files_of(target):
    """A target's source files, including those that other files include to be compiled as one."""
    for part in target["target_sources"]:
        for file in [pathlib.Path(name) for name in [*part["sources"], *part["generated_sources"]]]:
            together = TOGETHER.findall(file.read_text()) if file.is_relative_to(BUILD) else []
            yield from [pathlib.Path(name) for name in together] or [file]


def all_cases():
    targets = {target["id"]: target for target in described("targets")}
    for test in described("tests"):
        needed = [targets[name] for name in test["depends"]]
        program = Program(test["name"], test["cmd"], test["env"],
                          [os.path.relpath(file, BUILD) for target in needed for file in target["filename"]])
        for target in needed:
            if test["cmd"][0] not in target["filename"]:
                continue
            for path in files_of(target):
                for title in cases_in(path.read_text()):
                    yield Test(program, path.stem, title)


def all_scenarios():
    listed = subprocess.run([sys.executable, SCENARIOS, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    for line in listed.stdout.splitlines():
        file, title = line.split(": ", 1)
        yield Test(None, file, title)


def chosen_of(tests, wanted):
    """The tests of the file or program of this name, else those with all of these words in their names."""
    named = [test for test in tests if wanted in (test.file, test.program and test.program.name)]
    words = wanted.lower().split()
    return named or [test for test in tests if words and all(word in test.title.lower() for word in words)]


def nearest(tests, wanted):
    """The names with the most of these words; if there are none, the names with a similar spelling."""
    words = wanted.lower().split()
    count = {test.title: sum(word in test.title.lower() for word in words) for test in tests}
    found = sorted((title for title in count if count[title]), key=count.get, reverse=True)
    names = [*count, *(test.file for test in tests), *(test.program.name for test in tests if test.program)]
    return (found or difflib.get_close_matches(wanted, sorted(set(names)), cutoff=0.5))[:NAMES_SHOWN]


def filter_of(titles):
    """doctest's argument for these cases. A comma would separate two; a question mark is any character."""
    return "-tc=" + ",".join(title.replace(",", "?") for title in titles)


def run_cases(program, titles):
    if subprocess.run(["ninja", "-C", BUILD, *program.outputs]).returncode != 0:
        return False
    before = shlex.split(os.environ.get("UNDER", ""))
    # A program's sanitizer options are appended to the usual ones.
    environment = {**os.environ, **{name: f"{os.environ[name]}:{value}" if name in sanitizers.OPTIONS else value
                                    for name, value in program.environment.items()}}
    if before:
        # Leak detection does not work while another process traces the program.
        environment["ASAN_OPTIONS"] += ":detect_leaks=0"
    command = [*before, *program.command, filter_of(titles)]
    settings = [f"{name}={value}" for name, value in program.environment.items()]
    print(f"\n{shlex.join([*settings, *command])}", flush=True)
    return subprocess.run(command, env=environment).returncode == 0


def run_scenarios(titles):
    if os.environ.get("UNDER"):
        print("a scenario runs whole servers: only cases run in a debugger", file=sys.stderr)
        return False
    needed = ["matriarch", "test/bench/trivial_server", "test/e2e/matriarch-next"]
    if subprocess.run(["ninja", "-C", BUILD, *needed]).returncode != 0:
        return False
    return subprocess.run([sys.executable, "-u", SCENARIOS, *titles]).returncode == 0


def main():
    wanted = os.environ.get("ONLY", "").strip()
    if not wanted:
        sys.exit("say which, for example: make debug ONLY='words of its name'")
    # Meson's data may be older than the build files.
    if subprocess.run(["ninja", "-C", BUILD, "build.ninja"], stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit("the build cannot be configured; `meson setup` says why")
    tests = [*all_cases(), *all_scenarios()]
    chosen = chosen_of(tests, wanted)
    if not chosen:
        sys.exit("\n  ".join([f"no test, file or program is called so: {wanted}", *nearest(tests, wanted)]))
    runs = [(program, [test.title for test in group])
            for program, group in itertools.groupby(chosen, lambda test: test.program)]
    for program, titles in runs:
        print("\n  ".join([f"{program.name if program else 'end to end'}:", *titles]), flush=True)
    held = [run_cases(program, titles) if program else run_scenarios(titles) for program, titles in runs]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
