#!/usr/bin/python3
"""Runs the end-to-end scenarios, in their order.

    run.py                    all of them
    run.py move kill          those of a file, or whose name contains one of the words
    run.py --part 2           those of one part
    run.py --list             their names
    run.py --rows             the rows of the OSB checklist and their tests, without running them
    run.py --defects          what the original gets wrong and the tests that would catch it, likewise

A scenario is a function marked with @scenario("what holds"). It makes what it needs and removes it;
after each one nothing may be left on the platform. A failure shows its traceback and the ends of
the logs, and is cleaned up so that the next scenario starts afresh.

A file's scenarios run on the platform that its PLATFORM describes (options of Platform); without
one, on conf/dev.yml's. Files that follow each other with the same options share a platform. Where a
file has a function finish(platform), its scenarios share what they make, and that function removes
it after the last of them.
"""

import argparse
import contextlib
import importlib
import itertools
import json
import os
import pathlib
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

import checks  # noqa: E402
from local_platform import Platform  # noqa: E402
from processes import processes_of, tail  # noqa: E402
from waiting import Failed  # noqa: E402

# Four parts of about the same length, which `make test` runs beside each other, for they mostly
# wait. In each the cheap scenarios come first, so that a general fault shows early.
PARTS = [
    ["defects", "configuration", "life_cycle", "seeds_readme", "operators", "mistakes", "bad_input",
     "two_requests", "move", "cells_by_tls", "tools", "routers"],
    ["fencing", "router_killed", "strangers", "outages", "hostile", "broker_killed", "kills"],
    ["conformance", "bindings", "readers", "hostile_tenant", "walls", "tenants", "addresses", "certificates", "secrecy",
     "two_brokers", "crowd", "soak"],
    ["repair", "left_behind", "taking_back", "plans", "skew", "rebuild"],
]
FILES = list(itertools.chain(*PARTS))


def revive(platform):
    """Resumes everything that a scenario has frozen or stopped."""
    for pid in processes_of(platform.directory):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)
    for process in platform.processes:
        if process not in platform.brokers and not process.alive():
            process.start()
    for broker in platform.brokers:
        if not broker.alive():
            broker.start()
    platform.wait_broker()
    platform.wait_broker_acts()


def clean_up(platform):
    """Brings the platform back to its first state after a failed scenario."""
    platform.witnesses.clear()
    for cell in platform.held:
        cell.obey()
    for instance in platform.osb("GET", "/admin/service_instances")[2]:
        name = instance["instance_id"]
        status = platform.osb("DELETE", platform.instance_path(name), None, {
            "service_id": instance["service_id"], "plan_id": instance["plan_id"],
            "accepts_incomplete": "true"})[0]
        if status == 202:
            platform.wait_operation(name)
    platform.plan_of.clear()


def run_one(platform, function, shared=False):
    """Returns what was wrong, in one line, or nothing if the scenario held without a sanitizer's report.
    `shared`: what it made is for others too."""
    try:
        function(platform)
        if not shared:
            platform.wait_nothing_left()
        reports = platform.sanitizer_reports()
        if reports:
            raise Failed("\n".join(reports))
        return ""
    except Exception as failure:  # whatever it was, the next scenario must run
        traceback.print_exc(file=sys.stdout)
        for process in [platform.broker] if shared else platform.processes:
            print(f"--- {process.name}{'' if process.alive() else ' (ended)'}, its log's end:")
            print(tail(process.log, 25 if process is platform.broker and not shared else 8))
        platform.failed = True
        print("\n".join(platform.sanitizer_reports()))
        try:
            revive(platform)
            if not shared:
                clean_up(platform)
                platform.wait_nothing_left()
        except Exception as error:
            print(f"could not be cleaned up: {error}")
        return " ".join(f"{type(failure).__name__}: {failure}".split())[:400]


class Results:
    def __init__(self):
        self.passed, self.failed, self.held = 0, [], {}

    def note(self, file, title, wrong, seconds):
        """`wrong`: what was wrong, or nothing. It is part of the line, for readers who see no more of the
        output."""
        reason = f": {wrong}" if wrong else ""
        print(f"{'FAILED' if wrong else 'ok    '} {seconds:6.1f} s  {file}: {title}{reason}", flush=True)
        self.held[title] = not wrong
        self.passed += not wrong
        self.failed += [f"{file}: {title}{reason}"] if wrong else []


def run_file(platform, file, scenarios, results):
    """Runs a file's scenarios on a platform, and then removes what they share."""
    finish = getattr(sys.modules[file], "finish", None)
    for _, title, function in scenarios:
        start = time.monotonic()
        wrong = run_one(platform, function, shared=finish is not None)
        results.note(file, title, wrong, time.monotonic() - start)
    if finish is not None:
        start = time.monotonic()
        wrong = run_one(platform, finish)
        results.note(file, "nothing of it is left", wrong, time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--part", type=int, choices=range(1, len(PARTS) + 1))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--defects", action="store_true")
    parser.add_argument("--counts", type=pathlib.Path, help="where to write how many passed and failed")
    chosen = parser.parse_args()

    for name in FILES:
        importlib.import_module(name)
    if chosen.rows:
        sys.modules["conformance"].print_rows()
        return 0
    if chosen.defects:
        sys.modules["defects"].print_defects()
        return 1 if sys.modules["defects"].missing() else 0
    part = PARTS[chosen.part - 1] if chosen.part else FILES
    scenarios = [(file, title, function) for file, title, function in checks.SCENARIOS
                 if file in part
                 and (not chosen.words or any(word == file or word not in FILES and word in title
                                              for word in chosen.words))]
    if chosen.list:
        for file, title, _ in scenarios:
            print(f"{file}: {title}")
        return 0

    results = Results()
    options_of = lambda file: getattr(sys.modules[file], "PLATFORM", {})
    by_file = [(file, list(group)) for file, group in itertools.groupby(scenarios, lambda entry: entry[0])]
    for options, files in itertools.groupby(by_file, lambda entry: options_of(entry[0])):
        try:
            with Platform(**options, say=print) as platform:
                print(f"The platform runs in {platform.directory}.", flush=True)
                for file, group in files:
                    run_file(platform, file, group, results)
        except Failed as error:
            print(f"The platform did not start or end well: {error}")
            results.failed.append("start and end of the platform of " + ", ".join(options or ["dev.yml"]))
    if any(file == "conformance" for file, _ in by_file):
        sys.modules["conformance"].print_rows(results.held)
    passed, failed = results.passed, results.failed
    if failed:
        print("\nFailed:\n  " + "\n  ".join(failed))
    if chosen.counts:
        chosen.counts.write_text(json.dumps({"passed": passed, "failed": len(failed)}))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
