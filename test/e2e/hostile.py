"""Clients that try to stop the broker, and a stop that nothing delays. The cells are simulated: this
tests the broker's own HTTP server."""

import collections
import contextlib
import json
import time

from checks import equal, scenario, true
from hostile_clients import (MOST_CONNECTIONS, PROVISION, Aborted, Customer, Target, at_once, connection_flood,
                             deaf_readers, idle_connections, large_bodies, memory_mb, raise_descriptor_limit,
                             read_answer, stranger_flood)
from waiting import Failed, wait_until


def with_trail(kind, config):
    if kind == "broker":
        config["audit"] = {"file": "audit.jsonl"}


PLATFORM = {"simulated": True, "edit": with_trail}

# test/bench/hostile.py tries 100,000.
ABORTED = 5_000
# The most memory that the floods below may cost: 1,024 connections with 32 kB each, 64 MB of
# bodies, and what the allocator keeps of them.
MOST_GROWTH_MB = 150
# In seconds, for the platform's own requests during a flood: no answer may take as long as a
# time-out.
LONGEST_WAIT = 20
# In seconds, during floods that cost the broker work, which takes longer on a slow machine.
LONGEST_WAIT_AT_WORK = 60


@scenario("aborted requests: no client gets another's answer, nor an answer without a request")
def aborted(platform):
    before = memory_mb(platform.broker.pid)
    done = Aborted(Target(platform), ABORTED).run()
    print(f"       {done.figures['aborted']} aborted and {done.figures['good']} good requests in "
          f"{done.seconds:.0f} s; memory {before:.0f} -> {memory_mb(platform.broker.pid):.0f} MB")
    equal(done.figures["wrong"] + done.figures["unasked"], 0, f"wrong or unasked answers ({done.wrong})")
    equal(done.figures["aborted"], ABORTED, "aborted requests")


def flooded(platform, what, flood, longest=LONGEST_WAIT):
    """Floods while a platform works, which must hardly notice. Returns what flood() returns."""
    with Customer(Target(platform), platform.broker.pid) as customer:
        result = flood(Target(platform, source="127.0.0.66"))
    print(f"       {what}: {len(customer.times)} rounds of the platform, the slowest {customer.slowest:.2f} s; "
          f"memory {customer.before_mb:.0f} -> {customer.most_mb:.0f} at most -> {customer.after_mb:.0f} MB")
    true(not customer.errors, f"{what}: the platform saw {customer.errors[:3]}")
    true(customer.times, f"{what}: the platform got nothing done")
    true(customer.slowest < longest, f"{what}: an answer took {customer.slowest:.1f} s")
    true(customer.most_mb < customer.before_mb + MOST_GROWTH_MB, f"{what}: the memory grew to {customer.most_mb} MB")
    return result


@scenario("floods of connections, slow clients and strangers stop nobody, and memory stays bounded")
def floods(platform):
    raise_descriptor_limit()
    left = flooded(platform, "3,000 idle connections", lambda target: idle_connections(target, 3_000))
    true(0 < left <= MOST_CONNECTIONS, f"{left} of 3,000 idle connections are open, where 1,024 are allowed")
    flooded(platform, "10,000 connections at once", lambda target: connection_flood(target, 10_000))
    statuses = flooded(platform, "10,000 strangers", lambda target: stranger_flood(target, 10_000))
    true(statuses[401] > 5_000 and not set(statuses) - {401, "closed"}, f"strangers were answered {dict(statuses)}")
    statuses = flooded(platform, "200 bodies of 1 MB", lambda target: large_bodies(target, 200),
                       LONGEST_WAIT_AT_WORK)
    # On a machine with other load some bodies arrive too late.
    true(sum(statuses.values()) == 200 and statuses[400] > 100 and not set(statuses) - {400, 408},
         f"bodies that cannot be meant were answered {dict(statuses)}")
    for connection in flooded(platform, "100 that do not read", lambda target: deaf_readers(target, 100)):
        connection.close()
    equal(platform.osb("GET", "/v2/catalog")[0], 200, "the catalog afterwards")


@scenario("a flood of strangers fills neither the trail nor the log")
def trail(platform):
    files = [platform.audit_file, platform.broker.log]
    before = sum(path.stat().st_size for path in files)
    lines = len(platform.audit_file.read_text().splitlines())
    start = time.monotonic()
    target = Target(platform)
    refused = [stranger_flood(target, 20_000)[401]]
    written = lambda: [json.loads(line) for line
                       in platform.audit_file.read_text().rpartition("\n")[0].splitlines()[lines:]]
    counted = lambda: sum(1 + line.get("left_out", 0) for line in written())

    def all_counted():
        """The next line counts the requests without a line, and a separate thread writes it."""
        refused[0] += stranger_flood(target, 1, threads=1)[401]
        with contextlib.suppress(Failed):
            return wait_until(lambda: counted() >= refused[0], "", 5)
        return False
    wait_until(all_counted, lambda: f"lines that stand for {refused[0]} refusals; they stand for {counted()}")
    seconds = time.monotonic() - start
    grown = sum(path.stat().st_size for path in files) - before
    new = written()
    print(f"       {refused[0]} refusals in {seconds:.0f} s left {len(new)} lines, {grown / 1024:.0f} kB, "
          f"which stand for {counted()}")
    true(len(new) <= 60 + seconds + 2, f"{len(new)} lines in {seconds:.0f} s")
    true(grown < 1024 * (100 + seconds), f"the files grew by {grown} bytes")


@scenario("when too many changes come at once the surplus gets 503 at once, and none is done twice")
def too_many(platform):
    target = Target(platform)
    with platform.frozen_processes([platform.etcd]):
        answers = at_once(target, 300, lambda _: target.request(
            "PUT", "/v2/service_instances/wanted?accepts_incomplete=true", PROVISION))
        statuses = collections.Counter(answer.status for answer in answers)
        full = [answer for answer in answers if b"too many requests" in answer.body]
        print(f"       300 changes of one instance while etcd hangs: {dict(statuses)}, {len(full)} of them "
              f"because of the limit, the slowest of those after {max(a.seconds for a in full):.2f} s")
        equal(dict(statuses), {503: 300}, "the answers")
        true(all(answer.header("Retry-After") for answer in answers), "a 503 says nothing of when to try again")
        # All requests that came before the first hundred have waited for etcd in vain.
        true(full, "none was refused because of the limit")
    platform.wait_broker_acts()
    answers = at_once(target, 50, lambda _: target.request(
        "PUT", "/v2/service_instances/wanted?accepts_incomplete=true", PROVISION))
    statuses = collections.Counter(answer.status for answer in answers)
    true(not set(statuses) - {200, 202}, f"the same request 50 times was answered {dict(statuses)}")
    platform.plan_of["wanted"] = platform.ids_of("wanted")["plan_id"]
    platform.wait_operation("wanted").must_succeed()
    equal(len(platform.running_nodes()), 1, "the nodes")
    platform.remove("wanted")


class Holders:
    """Clients that could delay a broker's stop: silent ones, slow ones, ones that read nothing, and ones
    that wait for the end of an operation."""

    def __init__(self, platform, callers):
        target = Target(platform)
        self.others = [target.connect() for _ in range(20)]
        for piece in (b"GET /v2", target.request("PUT", "/v2/service_instances/slow", b"x" * 100)[:-50]):
            slow = target.connect()
            slow.sendall(piece)
            self.others.append(slow)
        self.others += deaf_readers(target, 5)
        self.callers = []
        for name in callers:
            caller = target.connect()
            caller.sendall(target.request("PUT", f"/v2/service_instances/{name}", PROVISION))
            self.callers.append(caller)

    def answers(self):
        """The answers that the callers got."""
        return [read_answer(caller)[0] for caller in self.callers]

    def close(self):
        for one in [*self.others, *self.callers]:
            one.close()


def seconds_of_stop(platform):
    """SIGTERM, and the seconds until the process has ended by itself with status 0."""
    start = time.monotonic()
    status = platform.broker.stop()
    equal(status, 0, "the broker's status after SIGTERM")
    return time.monotonic() - start


@scenario("a stop answers waiting requests, and the operations go on after the start")
def graceful_stop(platform):
    names = ["going-1", "going-2"]
    with platform.frozen_processes(platform.cells):
        held = Holders(platform, names)
        wait_until(lambda: all((platform.record(name) or {}).get("phase") == "accepted" for name in names),
                   "the operations to be accepted")
        seconds = seconds_of_stop(platform)
        print(f"       with silent, slow, deaf and waiting clients: {seconds:.1f} s from SIGTERM to the end")
        for answer in held.answers():
            equal(answer.status, 202, f"what a waiting caller got ({answer.body!r})")
            true(json.loads(answer.body).get("operation"), "the 202 names no operation")
        held.close()
    platform.start_broker()
    for name in names:
        platform.wait_operation(name).must_succeed()
    equal(len(platform.running_nodes()), 2, "the nodes")
    for name in names:
        platform.remove(name)


@scenario("a stop ends in time although etcd hangs, and nothing is left half done")
def stop_without_etcd(platform):
    platform.create("kept", nodes=1)
    target = Target(platform)
    with platform.frozen_processes([platform.etcd]):
        held = Holders(platform, [])
        answers = []
        asking = target.connect()
        asking.sendall(target.request("PUT", "/v2/service_instances/unsaid?accepts_incomplete=true", PROVISION))
        seconds = seconds_of_stop(platform)
        answers.append(read_answer(asking)[0])
        print(f"       with etcd frozen and a change under way: {seconds:.1f} s from SIGTERM to the end")
        equal(answers[0].status, 503, f"what the change under way was answered ({answers[0].body!r})")
        held.close()
        asking.close()
    platform.start_broker()
    equal(platform.last_operation("kept")[1]["state"], "succeeded", "the instance that was there")
    equal(len(platform.running_nodes()), 1, "the nodes")
    platform.remove("kept")
