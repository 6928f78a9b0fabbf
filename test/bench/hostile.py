#!/usr/bin/python3
"""What strangers can do to the broker, in figures: aborted requests, floods, and its memory.

    hostile.py                    100,000 aborted requests and the floods, some minutes
    hostile.py --aborted 5000     fewer of the first

`make test` tries the same with fewer, and asserts what holds (test/e2e/hostile.py). Exit code 0 only
if no answer was wrong or unasked. The cells are simulated.
"""

import argparse
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "platform")]

from hostile_clients import (Aborted, Customer, Target, connection_flood, deaf_readers, idle_connections,  # noqa: E402
                             large_bodies, memory_mb, raise_descriptor_limit, stranger_flood)
from local_platform import Platform  # noqa: E402
from waiting import Failed  # noqa: E402

STRANGER = "127.0.0.66"  # floods come from another address than the platform's requests
# How many aborted requests each figure of memory stands for.
PART = 10_000


def aborted(platform, count):
    """Gives how many answers were wrong or unasked."""
    bad, start = 0, time.monotonic()
    print(f"{'aborted':>9} {'good':>8} {'wrong':>6} {'unasked':>8} {'memory MB':>10} {'seconds':>8}")
    left, good = 0, 0
    while left < count:
        done = Aborted(Target(platform), min(PART, count - left), seed=left).run()
        left, good = left + done.figures["aborted"], good + done.figures["good"]
        bad += done.figures["wrong"] + done.figures["unasked"]
        print(f"{left:>9} {good:>8} {done.figures['wrong']:>6} {done.figures['unasked']:>8} "
              f"{memory_mb(platform.broker.pid):>10.1f} {time.monotonic() - start:>8.0f}", flush=True)
        for line in done.wrong:
            print("   ", line)
    return bad


def floods(platform, factor):
    print(f"\n{'flood':<34} {'MB before':>9} {'most':>6} {'after':>6} {'rounds':>7} {'slowest s':>10}  answers")
    for what, flood in (
            (f"{3000 * factor:,} idle connections", lambda target: idle_connections(target, 3000 * factor)),
            (f"{10_000 * factor:,} connections", lambda target: connection_flood(target, 10_000 * factor)),
            (f"{10_000 * factor:,} requests of strangers", lambda target: stranger_flood(target, 10_000 * factor)),
            (f"{200 * factor:,} hostile bodies of 1 MB", lambda target: large_bodies(target, 200 * factor)),
            ("100 clients that do not read", lambda target: deaf_readers(target, 100))):
        with Customer(Target(platform), platform.broker.pid) as customer:
            result = flood(Target(platform, source=STRANGER))
        answers = dict(result) if isinstance(result, dict) else f"{result} left open" if isinstance(result, int) else ""
        for connection in result if isinstance(result, list) else []:
            connection.close()
        print(f"{what:<34} {customer.before_mb:>9.1f} {customer.most_mb:>6.1f} {customer.after_mb:>6.1f} "
              f"{len(customer.times):>7} {customer.slowest:>10.2f}  {answers} {customer.errors[:1] or ''}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--aborted", type=int, default=100_000)
    parser.add_argument("--factor", type=int, default=3, help="how many times the floods of `make test`")
    chosen = parser.parse_args()
    raise_descriptor_limit()
    with Platform(simulated=True, say=print) as platform:
        bad = aborted(platform, chosen.aborted)
        floods(platform, chosen.factor)
        status = platform.osb("GET", "/v2/catalog")[0]
    print(f"\n{bad} wrong or unasked answers; the catalog afterwards: {status}")
    return 0 if bad == 0 and status == 200 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"hostile: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
