#!/usr/bin/python3
"""`make outages`: what an outage of each part looks like, measured on the real platform.

    outages.py                 all of them, about half an hour
    outages.py etcd disk       those whose name contains one of the words
    outages.py --list          their names

Each outage is looked at by three: an application that writes to a database, a platform that polls
last_operation, and one that wants a new instance and asks until that is taken. The table says what
they saw. What must hold whenever an outage has ended is asserted: no acknowledged row is lost, what
was accepted has been done once, and it runs exactly as asked. Seconds are measured, not asserted.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import psycopg2

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "platform")]

from asking import encoded  # noqa: E402
from checks import equal, exactly_as_asked, true  # noqa: E402
from databases import Writer  # noqa: E402
from local_platform import Platform  # noqa: E402
from processes import tail  # noqa: E402
from waiting import Failed, wait_until  # noqa: E402
from witnesses import Caller, Reader  # noqa: E402

OUTAGES = []  # (name, platform's options, function)
ROWS = []
HEADER = ("outage", "databases", "reads of the API", "changes", "over", "by itself")


def outage(name, **options):
    def mark(function):
        OUTAGES.append((name, options, function))
        return function
    return mark


def row(name, databases, reads, changes, over, by_itself="yes"):
    ROWS.append((name, databases, reads, changes, over, by_itself))
    print("  " + " | ".join(ROWS[-1]), flush=True)


def print_table():
    print("\n| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for line in ROWS:
        print("| " + " | ".join(line) + " |")


def seconds(number):
    return f"{number:.1f} s" if number >= 0.95 else f"{number * 1000:.0f} ms"


def pause_of(writer, since):
    """The application's longest pause, in words."""
    gap = writer.longest_gap(since)
    return "not affected" if gap < 0.5 else f"no writes for {seconds(gap)}"


def reads_of(reader):
    if not reader.failures:
        return f"answered, at most {seconds(reader.slowest)}"
    kinds = sorted({str(one) for one in reader.failures})
    return f"{len(reader.failures)} of {reader.count} failed ({', '.join(kinds)})"


def changes_of(caller, start, end):
    """How a platform was refused while it lasted, in words."""
    at, took, status, _, _ = caller.answers[0]
    if status in (200, 202):
        return f"accepted in {seconds(took)}"
    none = [one for one in caller.answers if one[2] is None]
    if none and len(none) == len([one for one in caller.answers if one[2] not in (200, 202)]):
        return f"no connection, {len(none)} times"
    refusals = caller.refusals(end)
    later = refusals[1:]
    text = f"503 after {seconds(took)}"
    known = [one for one in caller.answers if one[0] > start + 6 and one[2] == 503 and one[0] < end]
    if known:
        text += f", then at once ({seconds(max(one[1] for one in known))} at most)"
    elif later:
        text += f", then {seconds(max(later))} at most"
    return text


@contextlib.contextmanager
def database(platform, nodes=2, name="app", cells=None):
    """An instance that an application writes to: its uri."""
    platform.create(name, nodes=nodes, cells=cells)
    yield platform.bind(name, "app")["uri"]
    exactly_as_asked(platform, name, nodes)
    platform.unbind(name, "app")
    platform.remove(name)


def lasting(platform, name, begin, end, length, by_itself="yes", meanwhile=None):
    """Something is out of order between begin() and end(); the usual three watch it."""
    with database(platform) as uri:
        with Writer(uri) as writer, Reader(platform, "app") as reader:
            writer.wait_for_writes(50)
            start = time.monotonic()
            begin()
            try:
                with Caller(platform, "wanted") as caller:
                    # The length is the outage's own.
                    while time.monotonic() < start + length:
                        if meanwhile:
                            meanwhile()
                        time.sleep(0.1)
                    over = time.monotonic()
                    end()
                    caller.wait_taken()
            except BaseException:
                end()
                raise
            platform.wait_operation("wanted").must_succeed()
            platform.wait_broker_acts()
            acting = time.monotonic()
            writer.wait_for_writes(50)
        caller.must_be_told_to_return()
        missing = writer.missing()
        true(not missing, f"{len(missing)} acknowledged rows are missing")
        exactly_as_asked(platform, "wanted", 1)
        platform.remove("wanted")
        taken = caller.taken_at - over
        whole = (f"changes taken {seconds(taken)} after its end" if taken > 0
                 else f"all in order {seconds(acting - over)} after its end")
        row(name, pause_of(writer, start), reads_of(reader), changes_of(caller, start, over), whole, by_itself)


# --- etcd ------------------------------------------------------------------------------------------


@outage("etcd is frozen for 30 s")
def etcd_frozen(platform):
    lasting(platform, "etcd frozen (SIGSTOP) for 30 s", lambda: platform.etcd.kill(signal.SIGSTOP),
            lambda: platform.etcd.kill(signal.SIGCONT), 30)


@outage("etcd is killed, and started after 20 s")
def etcd_killed(platform):
    lasting(platform, "etcd killed, started again after 20 s",
            lambda: (platform.etcd.kill(), platform.etcd.running.wait()), platform.etcd.start, 20)


@outage("etcd answers the broker a second late", etcd_slow=True)
def etcd_slow(platform):
    def late(by):
        platform.proxy.delay = by
    lasting(platform, "etcd answers 1 s late for 20 s", lambda: late(1), lambda: late(0), 20)


@outage("etcd answers the broker five seconds late", etcd_slow=True)
def etcd_very_slow(platform):
    def late(by):
        platform.proxy.delay = by
    lasting(platform, "etcd answers 5 s late for 20 s", lambda: late(5), lambda: late(0), 20)


@outage("etcd refuses the broker's connections", etcd_slow=True)
def etcd_refuses(platform):
    lasting(platform, "etcd refuses the broker's connections for 15 s", platform.proxy.cut, platform.proxy.join, 15)


@outage("the watch was away when etcd was compacted", etcd_slow=True)
def etcd_compacted(platform):
    changed = {}

    def cut():
        platform.proxy.cut()
        # What the broker has to find out without having seen it happen.
        key = "/service/app/members/ghost"
        value = '{"state": "running", "role": "replica", "timeline": 1, "api_url": "http://127.0.0.9:8008/patroni"}'
        platform.etcd_call("/v3/kv/put", {"key": encoded(key), "value": encoded(value)})
        changed["revision"] = platform.etcd_call("/v3/kv/deleterange", {"key": encoded(key)})["header"]["revision"]
        platform.etcd_call("/v3/kv/compaction", {"revision": changed["revision"], "physical": True})
    lasting(platform, "etcd compacted while the watch was away (10 s)", cut, platform.proxy.join, 10)


def etcd_status(uri):
    from asking import http_json
    return http_json("POST", uri + "/v3/maintenance/status", {}, timeout=5)[2]


def leading_etcd(platform):
    """The number of the member of etcd that leads."""
    for number, uri in enumerate(platform.etcd_uris):
        said = etcd_status(uri)
        if said["leader"] == said["header"]["member_id"]:
            return number
    raise Failed("no member of etcd leads")


def ask_another_etcd(platform, than):
    """From here on this program asks a member that is neither of those."""
    platform.etcd_uri = next(uri for number, uri in enumerate(platform.etcd_uris) if number not in than)


@outage("etcd's leader is killed, of three members", etcds=3)
def etcd_leader_lost(platform):
    leading = leading_etcd(platform)
    member = platform.etcds[leading]
    ask_another_etcd(platform, [leading])
    lasting(platform, "etcd's leader killed, one of three", lambda: (member.kill(), member.running.wait()),
            member.start, 15)


@outage("etcd has lost its quorum: two of three members are frozen", etcds=3)
def etcd_quorum_lost(platform):
    leading = leading_etcd(platform)
    others = [number for number in range(3) if number != leading]
    frozen = [leading, others[0]]
    ask_another_etcd(platform, frozen)
    lasting(platform, "etcd without a quorum (two of three frozen) for 20 s",
            lambda: [platform.etcds[number].kill(signal.SIGSTOP) for number in frozen],
            lambda: [platform.etcds[number].kill(signal.SIGCONT) for number in frozen], 20)


@outage("etcd is out of space", etcd_quota=6 * 1024 * 1024)
def etcd_full(platform):
    def fill():
        with contextlib.suppress(Failed):
            while True:
                platform.etcd_call("/v3/kv/put", {"key": encoded("/filling"), "value": encoded("x" * 500_000)})

    def make_space():
        platform.etcd_call("/v3/kv/deleterange", {"key": encoded("/filling")})
        said = etcd_status(platform.etcd_uri)
        platform.etcd_call("/v3/kv/compaction", {"revision": said["header"]["revision"], "physical": True})
        platform.etcd_call("/v3/maintenance/defragment", {})
        platform.etcd_call("/v3/maintenance/alarm", {
            "action": "DEACTIVATE", "memberID": said["header"]["member_id"], "alarm": "NOSPACE"})
    lasting(platform, "etcd out of space (NOSPACE alarm) for 20 s", fill, make_space, 20,
            by_itself="after `etcdctl compact`, `defrag` and `alarm disarm`")


# --- brokers ---------------------------------------------------------------------------------------


@outage("the broker is killed and started by its supervisor after 5 s")
def broker_killed(platform):
    lasting(platform, "the only broker killed, started again after 5 s",
            lambda: (platform.broker.kill(), platform.broker.running.wait()), platform.broker.start, 5)


def active_broker_hit(platform, name, hit, heal):
    active = platform.wait_active_broker()
    lasting(platform, name, lambda: hit(platform.brokers[active]), lambda: heal(platform.brokers[active]), 15)


@outage("the active one of two brokers is killed", brokers=2)
def active_killed(platform):
    active_broker_hit(platform, "the active one of two brokers killed",
                      lambda broker: (broker.kill(), broker.running.wait()), lambda broker: broker.start())


@outage("the active one of two brokers is stopped", brokers=2)
def active_stopped(platform):
    active_broker_hit(platform, "the active one of two brokers stopped (SIGTERM)",
                      lambda broker: broker.stop(), lambda broker: broker.start())


@outage("the active one of two brokers is frozen", brokers=2)
def active_frozen(platform):
    active_broker_hit(platform, "the active one of two brokers frozen for 15 s",
                      lambda broker: broker.kill(signal.SIGSTOP), lambda broker: broker.kill(signal.SIGCONT))


@outage("the broker's clock is set")
def clock_set(platform):
    """The whole process sees another time of day: libfaketime, but for the steady clock."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    true(library is not None, "libfaketime is not installed")
    offset = platform.directory / "offset"

    def set_clock(by):
        offset.write_text(f"{by}\n")
    set_clock("+0")
    platform.stop_broker()
    platform.broker.environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset),
                                   "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    platform.start_broker()
    try:
        for words, by in (("an hour ahead", "+1h"), ("an hour back", "-1h")):
            def step(by=by):
                platform.provision("under-way", nodes=2)
                set_clock(by)
            lasting(platform, f"the broker's clock set {words}, in the middle of a provision", step,
                    lambda: set_clock("+0"), 5)
            platform.wait_operation("under-way").must_succeed()
            exactly_as_asked(platform, "under-way", 2)
            platform.remove("under-way")
    finally:
        platform.stop_broker()
        platform.broker.environment = None
        platform.start_broker()


# --- cells -----------------------------------------------------------------------------------------


def with_cell(platform, name, hit, heal, by_itself="yes"):
    """A provision of two nodes goes to a cell that is out of order since a moment ago, and others."""
    bad = platform.guids[0]
    wanted = [bad, platform.guids[2], platform.guids[3]]
    with database(platform, cells=platform.guids[:2]) as uri:
        with Writer(uri) as writer, Reader(platform, "app") as reader:
            writer.wait_for_writes(50)
            start = time.monotonic()
            hit(bad)
            try:
                # The cell's guid is the first in order: a node is placed there unless it is known to be away.
                platform.provision("wanted", nodes=2, cells=wanted)
                operation = platform.wait_operation("wanted")
                ended = time.monotonic() - start
                last = operation.description
            finally:
                heal(bad)
            operation.must_succeed()
            back = time.monotonic()
            platform.wait_cells_seen()
            # A start without an answer may still arrive: the node's removal is confirmed after that.
            wait_until(lambda: len(platform.record("wanted")["nodes"]) == 2, "what was replaced to be gone")
            cleaned = time.monotonic() - back
            exactly_as_asked(platform, "wanted", 2)
            writer.wait_for_writes(50)
        equal(writer.missing(), [], "acknowledged rows that are missing")
        platform.remove("wanted")
        row(name, pause_of(writer, start), reads_of(reader),
            f"a provision that met it succeeded after {seconds(ended)}",
            f"nothing left of it {seconds(cleaned)} after it is back", by_itself)
        print(f"    it said: {last}")


@outage("a cell's agent refuses connections")
def cell_refuses(platform):
    with_cell(platform, "a cell's agent killed",
              lambda guid: (platform.cell(guid).kill(), platform.cell(guid).running.wait()), platform.start_machine)


@outage("a cell's agent hangs")
def cell_hangs(platform):
    with_cell(platform, "a cell's agent frozen (SIGSTOP)", lambda guid: platform.freeze_process(platform.cell(guid)),
              lambda guid: platform.freeze_process(platform.cell(guid), go_on=True))


def with_held_cell(platform, name, hit):
    """Three nodes, of which one comes to a cell that does what it is told."""
    held = platform.held[0]
    hit(held)
    start = time.monotonic()
    platform.provision("wanted", nodes=5, cells=[*platform.guids, held.guid])
    operation = platform.wait_operation("wanted")
    ended = time.monotonic() - start
    held.obey()
    operation.must_succeed()
    platform.wait_all_running("wanted", 5)
    platform.remove("wanted")
    row(name, "none there", "not measured", f"a provision that met it succeeded after {seconds(ended)}",
        "used again when it obeys")


@outage("a cell answers 500", held=1, simulated=True)
def cell_fails(platform):
    with_held_cell(platform, "a cell answers every start with 500", lambda held: held.refuses_start.add("wanted"))


@outage("a cell starts a node and answers after the time-out", held=1, simulated=True)
def cell_late(platform):
    with_held_cell(platform, "a cell starts the node, and answers after the time-out (40 s)",
                   lambda held: held.answers_late.update({"wanted": 40}))


@outage("a machine with the leader dies, and comes back after 20 s")
def machine_dies(platform):
    platform.create("app", nodes=2)
    uri = platform.bind("app", "app")["uri"]
    guid = platform.nodes_of("app")[platform.leader("app")]
    with Writer(uri) as writer, Reader(platform, "app") as reader:
        writer.wait_for_writes(50)
        start = time.monotonic()
        platform.kill_machine(guid)
        writer.wait_for_writes(50)
        with Caller(platform, "wanted") as caller:
            caller.wait_taken()
        platform.wait_operation("wanted").must_succeed()
        while time.monotonic() < start + 20:
            time.sleep(0.1)
        platform.start_machine(guid)
        back = time.monotonic()
        platform.wait_all_running("app", 2)
        whole = time.monotonic() - back
        writer.wait_for_writes(50)
    equal(writer.missing(), [], "acknowledged rows that are missing")
    row("the leader's machine dead for 20 s (ttl 5)", pause_of(writer, start), reads_of(reader),
        changes_of(caller, start, back), f"two nodes again {seconds(whole)} after its return")
    platform.wait_cells_seen()
    exactly_as_asked(platform, "wanted", 1)
    exactly_as_asked(platform, "app", 2)
    platform.unbind("app", "app")
    platform.remove("wanted")
    platform.remove("app")


# --- the way in ------------------------------------------------------------------------------------


def haproxy_pids(platform):
    """The workers of HAProxy and their master."""
    from processes import command_of, descendants_of
    return [pid for pid in descendants_of(platform.router.pid) if "haproxy" in "".join(command_of(pid)[:1])]


@outage("HAProxy is killed")
def haproxy_killed(platform):
    def kill():
        for pid in haproxy_pids(platform):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    lasting(platform, "HAProxy killed", kill, lambda: None, 5)


@outage("the router is killed, and started by its supervisor after 5 s")
def router_killed(platform):
    lasting(platform, "the router killed, started again after 5 s",
            lambda: (platform.router.kill(), platform.router.running.wait()), platform.router.start, 5)
    # It took HAProxy over from its predecessor; leftovers() knows it by its parent.
    return "another platform"


# --- disks -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(platform, guid, megabytes):
    """All that the cell keeps is on a file system of that size."""
    place = platform.directory / guid
    platform.cell(guid).stop()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", place], check=True)
    try:
        platform.cell(guid).start()
        platform.wait_cell(guid)
        platform.wait_cells_seen()
        yield place
    finally:
        platform.cell(guid).stop()
        subprocess.run(["umount", "--lazy", place], check=False)
        platform.cell(guid).start()
        platform.wait_cell(guid)


def disk_filled(platform, name, fill, at_most):
    """The file system of the leader's node is full, until space is made after `at_most` seconds."""
    guid, other = platform.guids[0], platform.guids[2]
    with small_disk(platform, guid, 300) as place, database(platform, cells=[guid, other]) as uri:
        if platform.nodes_of("app")[platform.leader("app")] != guid:
            demoted = platform.osb("POST", f"/admin/cells/{other}/demote")
            equal(demoted[0], 200, f"moving the leader to the small disk ({demoted[2]})")
            platform.wait_all_running("app", 2)
        leader = platform.leader("app")
        filling = place / "filling"
        with Writer(uri) as writer, Reader(platform, "app") as reader, Caller(platform, "wanted") as caller:
            writer.wait_for_writes(50)
            start = time.monotonic()
            with filling.open("wb") as into, contextlib.suppress(OSError):
                while True:
                    into.write(b"x" * 65536)
                    into.flush()
            fill(platform, leader, uri)
            before = len(writer.acknowledged)
            # The length is the outage's own, unless another leader ends it.
            with contextlib.suppress(Failed):
                wait_until(lambda: platform.leader("app") not in (None, leader), "another leader", at_most)
                writer.wait_for_writes(50)
            failed_over = platform.leader("app") != leader
            filling.unlink()
            freed = time.monotonic()
            caller.wait_taken()
            platform.wait_operation("wanted").must_succeed()
            platform.wait_all_running("app", 2)
            whole = time.monotonic() - freed
            writer.wait_for_writes(50)
        missing = writer.missing()
        true(not missing, f"{len(missing)} acknowledged rows are missing")
        said = sorted({text for _, text in writer.errors if "space" in text})
        print(f"    {before} rows until it was full; it said: {said or writer.errors[-2:]}")
        row(name, pause_of(writer, start), reads_of(reader), changes_of(caller, start, freed),
            f"all in order {seconds(whole)} after there was space",
            "yes: a replica leads" if failed_over else "once there is space")
        exactly_as_asked(platform, "wanted", 1)
        platform.remove("wanted")


def fill_tables(_, __, uri):
    """As an application: rows until one is refused."""
    with contextlib.suppress(psycopg2.Error), contextlib.closing(psycopg2.connect(uri)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("create table if not exists ballast (text text)")
        while True:
            cursor.execute("insert into ballast select repeat(md5(random()::text), 30) "
                           "from generate_series(1, 2000)")


def fill_log(platform, leader, _):
    """Nothing but the log of transactions, until PostgreSQL cannot go on."""
    with contextlib.suppress(psycopg2.Error), contextlib.closing(platform.connect(leader)) as connection:
        cursor = connection.cursor()
        while True:
            cursor.execute("select pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))")


@outage("the disk of the leader's node is full: tables cannot grow")
def disk_full(platform):
    disk_filled(platform, "the leader's disk full for 20 s: tables cannot grow", fill_tables, 20)


@outage("the disk of the leader's node is full: the log cannot grow")
def disk_full_of_log(platform):
    disk_filled(platform, "the leader's disk full: PostgreSQL cannot write its log", fill_log, 60)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args()
    outages = [one for one in OUTAGES if not chosen.words or any(word in one[0] for word in chosen.words)]
    if chosen.list:
        for name, _, _ in outages:
            print(name)
        return 0
    failed = []
    groups = {}
    for name, options, function in outages:
        groups.setdefault(repr(sorted(options.items())), (options, []))[1].append((name, function))
    for options, group in groups.values():
        left = list(group)
        while left:
            try:
                with Platform(say=print, **options) as platform:
                    while left:
                        name, function = left.pop(0)
                        print(f"{name} …", flush=True)
                        if function(platform):
                            break
                        platform.wait_nothing_left()
            except Failed as error:  # the others are measured on a fresh platform
                print(f"FAILED {name}: {error}", flush=True)
                print(tail(platform.broker.log, 15) if platform.brokers else "")
                failed.append(name)
    print_table()
    if failed:
        print("\nFailed: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
