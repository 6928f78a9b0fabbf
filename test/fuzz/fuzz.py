#!/usr/bin/python3
"""Runs the fuzz targets, one after the other, and prints a table of what they did.

    fuzz.py                              every target for a minute
    fuzz.py --seconds 600 osb etcd       some of them for ten minutes each

A target begins with test/fuzz/corpus/<target>, which was recorded from a real platform by record.py,
and with what it has found to be interesting before, which it keeps in the build directory. An input
that ends the program, takes too long or takes too much memory is a finding: it is kept, and the exit
code is 1. Mend it, and add the input to the corpus and a test to the unit tests.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "platform"))

import sanitizers  # noqa: E402, F401, its import sets their options

BUILD = pathlib.Path(os.environ.get("MATRIARCH_BUILD", HERE.parents[1] / "build-fuzz"))
TARGETS = ["request_head", "osb", "records", "etcd", "members", "node", "configuration", "encodings"]
# Inputs are short, or the fuzzer sees too few of them. What is long is the limits' affair.
LONGEST = 8_192
# Of one input, in seconds: thousands of times what any takes, also on a busy machine.
SLOWEST = 20
# MB; AddressSanitizer's own share is most of it.
MOST_MEMORY = 2_048
STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)


def run(target, seconds):
    """Gives (executions, executions a second, inputs in the corpus, findings)."""
    corpus, findings = BUILD / "corpus" / target, BUILD / "findings" / target
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    dictionary = HERE / "dictionaries" / f"{target}.txt"
    command = [BUILD / "test/fuzz" / f"fuzz-{target}", corpus, HERE / "corpus" / target,
               f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}",
               f"-rss_limit_mb={MOST_MEMORY}", f"-artifact_prefix={findings}/", "-print_final_stats=1",
               # To name the functions that an input is the first to reach takes longer than to run it.
               "-print_funcs=0",
               *([f"-dict={dictionary}"] if dictionary.exists() else [])]
    log = BUILD / f"fuzz-{target}.log"
    with log.open("w") as output:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode
    text = log.read_text(errors="replace")
    statistics = {name: int(number) for name, number in STATISTIC.findall(text)}
    found = sorted(set(findings.iterdir()) - before)
    if status != 0:
        print(f"--- {target} ended with {status}; its log is {log}, and ends with:\n" + text[-4_000:], flush=True)
    for input_file in found:
        print(f"{target}: a finding: {input_file}", flush=True)
    return (statistics.get("number_of_executed_units", 0), statistics.get("average_exec_per_sec", 0),
            len(list(corpus.iterdir())) + len(list((HERE / "corpus" / target).iterdir())),
            max(len(found), int(status != 0)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"one of {', '.join(TARGETS)}; default: all")
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - set(TARGETS):
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    rows = []
    for target in chosen.targets or TARGETS:
        print(f"{target}: {chosen.seconds} s", flush=True)
        rows.append((target, *run(target, chosen.seconds)))
    print(f"\n{'target':<14} {'executions':>12} {'a second':>9} {'corpus':>7} {'findings':>9}")
    for target, executions, rate, corpus, findings in rows:
        print(f"{target:<14} {executions:>12,} {rate:>9,} {corpus:>7,} {findings:>9}")
    return 1 if any(row[-1] for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
