"""Whether credentials work at once: the first connection after the answer to a bind."""

import time

import psycopg2

from waiting import PATIENCE, Failed


def attempts_until_let_in(uri):
    """How often the first connections with these credentials were refused, and for how many seconds."""
    refused, start = 0, time.monotonic()
    while True:
        try:
            psycopg2.connect(uri, connect_timeout=10).close()
            return refused, time.monotonic() - start
        except psycopg2.OperationalError as error:
            refused += 1
            if time.monotonic() - start > PATIENCE:
                raise Failed(f"never let in: {error}") from error
            time.sleep(0.005)


def connect_at_once(platform, rounds, instances=1):
    """Binds `rounds` times, spread over fresh instances, and connects at once with what the answer holds.

    Every instance's first bind comes right after its provision has succeeded. Gives how many binds there
    were, how many of them were refused at first, the longest time in seconds until one was let in, and
    the medians' material: the seconds that each bind and each first connection took.
    """
    refused, longest, binds, connections = 0, 0.0, [], []
    for number in range(instances):
        name = f"first{number}"
        platform.create(name, nodes=1)
        for binding in range(rounds // instances):
            start = time.monotonic()
            uri = platform.bind(name, f"b{binding}")["uri"]
            binds.append(time.monotonic() - start)
            failures, seconds = attempts_until_let_in(uri)
            connections.append(seconds)
            refused += 1 if failures else 0
            longest = max(longest, seconds)
        platform.remove(name)
    return {"binds": len(binds), "refused": refused, "longest": longest, "bind_seconds": binds,
            "connection_seconds": connections}
