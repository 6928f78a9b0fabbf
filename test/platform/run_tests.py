#!/usr/bin/python3
"""Runs every test: unit and http first, then actors, integration and end to end beside each other.

The output of a failed test is shown. At the end: a table of the groups with their durations, and
the plain line `N passed, N failed`, which counts doctest cases, and other test programs and
end-to-end scenarios as one each. Exit code 0 only if nothing failed and something was run.

With arguments, only those groups: run_tests.py unit e2e
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import sanitizers  # noqa: F401, its import sets their options

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MATRIARCH_BUILD", ROOT / "build"))
MESON_GROUPS = ["unit", "http", "actors", "integration"]
# Meson's 30 s for a test suit a machine without other load.
TIMEOUT_MULTIPLIER = "4"
WAITING = ["integration", "e2e"]
# Groups that only compute, in virtual time: they get the processor time that the waiting groups
# leave.
COMPUTING = ["actors"]
# Lowers their priority: Linux shares the processors among sessions first, and Meson gives each test
# a session of its own.
GIVE_WAY = """sh -c '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 "$@"' sh"""
# As many as PARTS in run.py.
E2E_PARTS = 4
SCENARIO_ENDED = re.compile(r"(ok    |FAILED) +[0-9.]+ s  ")
# doctest's output for a failed assertion, up to the next line of dashes or equals signs.
FAILED_CASE = re.compile(
    r"^TEST CASE:  (.+)\n(?:.*\n){0,40}?.*(?:ERROR|FATAL ERROR): (.*\n(?:.+\n){0,3})", re.MULTILINE)
CASES = re.compile(r"\[doctest\] test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")


def failures_in(program):
    """The failures in a program of `meson test`: a line for each case, or one for the program."""
    output = (program.get("stdout") or "") + (program.get("stderr") or "")
    cases = [f"{program['name']}: {name.strip()}: {' '.join(text.split())[:300]}"
             for name, text in FAILED_CASE.findall(output)]
    return cases or [f"{program['name']}: {program['result']}: {' '.join(output[-500:].split())}"]


def run_meson_group(group, failures):
    """Runs one suite of `meson test`; returns (passed, failed), and adds the failures to `failures`."""
    # Meson adds the wrapper's name.
    log = BUILD / f"meson-logs/testlog-{group}{'-sh' if group in COMPUTING else ''}.json"
    log.unlink(missing_ok=True)
    status = subprocess.run(
        ["meson", "test", "-C", BUILD, "--print-errorlogs", "--suite", group, "--logbase", f"testlog-{group}",
         "--timeout-multiplier", TIMEOUT_MULTIPLIER,
         *(["--wrapper", GIVE_WAY] if group in COMPUTING else [])]).returncode
    passed = failed = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        program = json.loads(line)
        cases = CASES.search(program.get("stdout") or "")
        if program["result"] not in ("OK", "EXPECTEDFAIL", "SKIP"):
            failures.extend(failures_in(program))
        if cases:
            passed += int(cases.group(2))
            failed += int(cases.group(3))
            # A program can also fail outside of a case: a crash after the summary, a sanitizer's
            # report.
            if program["result"] != "OK" and int(cases.group(3)) == 0:
                failed += 1
        elif program["result"] in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif program["result"] != "SKIP":
            failed += 1
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed


def run_e2e_part(part):
    """Runs a part of the end-to-end scenarios; returns (passed, failed, output)."""
    counts = BUILD / f"e2e-counts-{part}.json"
    counts.unlink(missing_ok=True)
    with (BUILD / f"e2e-{part}.log").open("w+") as log:
        running = subprocess.Popen([sys.executable, "-u", ROOT / "test/e2e/run.py", "--part", str(part),
                                    "--counts", counts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace")
        for line in running.stdout:
            log.write(line)
            if SCENARIO_ENDED.match(line):
                print(line, end="", flush=True)
        status = running.wait()
        log.seek(0)
        text = log.read()
    if not counts.exists():
        return 0, 1, text
    found = json.loads(counts.read_text())
    failed = found["failed"]
    return found["passed"], failed if failed or status == 0 else 1, text


def run_e2e(failures):
    """Runs the end-to-end scenarios, all parts beside each other; returns (passed, failed), and adds the
    failures to `failures`."""
    with concurrent.futures.ThreadPoolExecutor(E2E_PARTS) as pool:
        parts = list(pool.map(run_e2e_part, range(1, E2E_PARTS + 1)))
    for number, (_, failed, text) in enumerate(parts, start=1):
        if failed:
            print(f"\n--- all that part {number} printed:\n{text}", flush=True)
            failed_lines = [line for line in text.splitlines() if line.startswith("FAILED")]
            failures.extend(failed_lines or [f"part {number} of the scenarios: {text[-500:]}"])
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def main():
    chosen = sys.argv[1:] or MESON_GROUPS + ["e2e"]
    unknown = [group for group in chosen if group not in MESON_GROUPS + ["e2e"]]
    if unknown:
        sys.exit(f"run_tests.py: no group {unknown[0]}; there are {', '.join(MESON_GROUPS)} and e2e")
    rows = []
    failures = []

    def run(group):
        print(f"\n=== {group}", flush=True)
        start = time.monotonic()
        passed, failed = run_e2e(failures) if group == "e2e" else run_meson_group(group, failures)
        seconds = time.monotonic() - start
        rows.append((group, seconds, passed, failed))
        print(f"=== {group}: {passed} passed, {failed} failed, {seconds:.1f} s", flush=True)

    # Groups that mostly wait run beside each other: together they take as long as one of them.
    for group in [group for group in chosen if group not in WAITING + COMPUTING]:
        run(group)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(run, [group for group in chosen if group in WAITING + COMPUTING]))
    print(f"\n{'group':<12} {'seconds':>8} {'passed':>7} {'failed':>7}")
    for group, seconds, passed, failed in rows:
        print(f"{group:<12} {seconds:>8.1f} {passed:>7} {failed:>7}")
    print(f"{'all':<12} {sum(row[1] for row in rows):>8.1f}\n")
    passed, failed = sum(row[2] for row in rows), sum(row[3] for row in rows)
    # At the end, for readers who see only the end of the output.
    for failure in failures:
        print(f"failed: {failure}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
