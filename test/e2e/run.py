#!/usr/bin/python3
"""Runs the end-to-end scenarios, in their order, on one platform that all of them share.

    run.py                    all of them
    run.py move kill          those whose file or name contains one of the words
    run.py --list             their names

A scenario is a function marked with @scenario("what holds"). It makes what it needs and removes it;
after each one nothing may be left on the platform. A failure shows its traceback and the ends of
the logs, and is cleaned up so that the next scenario starts afresh.
"""

import argparse
import importlib
import json
import pathlib
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

import checks  # noqa: E402
from local_platform import Failed, Platform, tail  # noqa: E402

# The cheap ones first: what is wrong everywhere shows early.
FILES = ["configuration", "life_cycle", "seeds_readme", "operators", "bad_input", "two_requests",
         "move", "broker_killed", "outages"]


def clean_up(platform):
    """Brings the platform back to its first state after a scenario that failed."""
    for process in platform.processes:
        if process.alive():
            process.kill(signal.SIGCONT)
        elif process is platform.broker:
            continue
        else:
            process.start()
    if not platform.broker.alive():
        platform.start_broker()
    platform.wait_broker_acts()
    for instance in platform.osb("GET", "/admin/service_instances")[2]:
        name = instance["instance_id"]
        status = platform.osb("DELETE", platform.instance_path(name), None, {
            "service_id": instance["service_id"], "plan_id": instance["plan_id"],
            "accepts_incomplete": "true"})[0]
        if status == 202:
            platform.wait_operation(name)


def run_one(platform, title, function):
    """Gives whether it held."""
    try:
        function(platform)
        platform.wait_nothing_left()
        return True
    except Exception:  # whatever it was, the next scenario is to be run
        traceback.print_exc(file=sys.stdout)
        for process in platform.processes:
            print(f"--- {process.name}{'' if process.alive() else ' (ended)'}, its log's end:")
            print(tail(process.log, 25 if process is platform.broker else 8))
        platform.failed = True
        try:
            clean_up(platform)
            platform.wait_nothing_left()
        except Exception as error:
            print(f"could not be cleaned up: {error}")
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--counts", type=pathlib.Path, help="where to write how many passed and failed")
    chosen = parser.parse_args()

    for name in FILES:
        importlib.import_module(name)
    scenarios = [(file, title, function) for file, title, function in checks.SCENARIOS
                 if not chosen.words or any(word in f"{file} {title}" for word in chosen.words)]
    if chosen.list:
        for file, title, _ in scenarios:
            print(f"{file}: {title}")
        return 0

    passed, failed = 0, []
    try:
        with Platform(say=print) as platform:
            print(f"The platform runs in {platform.directory}.", flush=True)
            for file, title, function in scenarios:
                start = time.monotonic()
                held = run_one(platform, title, function)
                seconds = time.monotonic() - start
                print(f"{'ok    ' if held else 'FAILED'} {seconds:6.1f} s  {file}: {title}", flush=True)
                passed += held
                failed += [] if held else [f"{file}: {title}"]
    except Failed as error:
        print(f"The platform could not be started: {error}")
        failed.append("the platform")
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
