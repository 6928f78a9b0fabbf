#!/usr/bin/python3
"""`make bench`: what it reaches beside what it shall reach, in one run. No figure is asserted.

    bench.py            some minutes
    bench.py --short    one round of almost all: that it ends, which `make test` looks at

Times depend on the machine and on what else runs there: the ratios say more than the seconds.
"""

import argparse
import base64
import http.client
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

import clients  # noqa: E402
import floor  # noqa: E402
import growth  # noqa: E402
from databases import Writer  # noqa: E402
from layout import API_VERSION, BUILD, PASSWORD, PLAN, SERVICE, USERNAME  # noqa: E402
from local_platform import Platform  # noqa: E402
from waiting import Failed, wait_until  # noqa: E402

# The acceptance numbers of the design; they are goals, not limits.
GOAL_OF_FLOOR = 1.25
GOAL_OWN_SHARE_MS = 100
GOAL_MOVE_GAP = 2.0
GOAL_KILL_GAP = 6.0
GOAL_OF_TRIVIAL = 0.85
GOAL_MEMORY_MB = 40
GOAL_BINDING_MS = 20
GOAL_TO_LEADER_MS = 10
GOAL_OF_PATRONI = 1.05
GOAL_LOAD_S = 8
GOAL_LOAD_OF_CURL = 1.5
GOAL_KB_EACH = 12

ROWS = []


def row(what, goal, measured, detail=""):
    ROWS.append((what, goal, measured, detail))
    print(f"  {what}: {measured} (goal {goal}) {detail}", flush=True)


def print_table():
    header = ("what", "goal", "measured", "how")
    widths = [max(len(line[column]) for line in [header, *ROWS]) for column in range(3)]
    print()
    for line in [header, *ROWS]:
        print("  ".join([line[0].ljust(widths[0]), line[1].rjust(widths[1]), line[2].rjust(widths[2]), line[3]]))


def pss_mb(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE).group(1)) / 1024


def cold_provision(platform, rounds):
    """Provisions and floor, in turn, so that a busy moment hits both. Gives what the cells wrote."""
    provisions, floors, templates = [], [], None
    for number in range(rounds):
        name = f"cold{number}"
        start = time.monotonic()
        platform.provision(name, nodes=2)
        platform.wait_operation(name).must_succeed()
        provisions.append(time.monotonic() - start)
        if templates is None:
            templates = floor.templates_of(platform, name)
        platform.remove(name)
        floors.append(floor.seconds_of_one_start(platform, templates, number))
        print(f"  round {number + 1}: provision {provisions[-1]:.2f} s, floor {floors[-1]:.2f} s", flush=True)
    provision, ground = statistics.median(provisions), statistics.median(floors)
    row("cold provision of two nodes / floor", f"{GOAL_OF_FLOOR:.2f}", f"{provision / ground:.2f}",
        f"{provision:.2f} s / {ground:.2f} s, medians of {rounds}, in turn")
    return templates


def write_gaps(platform, rounds):
    moves, rebuilds, kills, restarts = [], [], [], []
    for number in range(rounds):
        name = f"gap{number}"
        platform.create(name, nodes=2)
        uri = platform.bind(name, "app")["uri"]
        cells = [guid for guid in platform.guids if guid not in platform.nodes_of(name).values()]
        with Writer(uri) as writer:
            writer.wait_for_writes(50)
            platform.update(name, cells=cells)
            platform.wait_operation(name).must_succeed()
            writer.wait_for_writes(50)
            moves.append(writer.longest_gap())
            platform.wait_all_running(name, 2)
            at = time.monotonic()
            ended = platform.wait_rebuild(name, platform.rebuild(name))
            if ended["state"] != "succeeded":
                raise Failed(f"the rebuild failed: {ended['description']}")
            writer.wait_for_writes(50)
            rebuilds.append(writer.longest_gap(since=at))
            platform.wait_all_running(name, 2)
            at, leader = time.monotonic(), platform.leader(name)
            cell = platform.nodes_of(name)[leader]
            platform.kill_machine(cell)
            wait_until(lambda: platform.leader(name) not in (None, leader), "another leader")
            writer.wait_for_writes(50)
            kills.append(writer.longest_gap(since=at))
            platform.start_machine(cell)
            platform.wait_all_running(name, 2)
            at = time.monotonic()
            platform.kill_node(platform.leader(name))
            writer.wait_for_writes(20)
            platform.wait_all_running(name, 2)
            writer.wait_for_writes(50)
            restarts.append(writer.longest_gap(since=at))
        platform.wait_cells_seen()
        print(f"  round {number + 1}: move {moves[-1]:.2f} s, rebuild {rebuilds[-1]:.2f} s, leader's machine killed "
              f"{kills[-1]:.2f} s, its node alone {restarts[-1]:.2f} s", flush=True)
        platform.unbind(name, "app")
        platform.remove(name)
    for what, goal, gaps in (("longest write gap of a move", GOAL_MOVE_GAP, moves),
                             ("longest write gap of a rebuild", GOAL_MOVE_GAP, rebuilds),
                             ("longest write gap, leader killed", GOAL_KILL_GAP, kills),
                             ("the same, its node alone", GOAL_KILL_GAP, restarts)):
        row(what, f"{goal:.1f} s", f"{max(gaps):.2f} s", f"median {statistics.median(gaps):.2f} s of {rounds}")


def bindings(platform, rounds):
    """Bind and unbind beside the statements alone, in turn, on the same leader with a replica."""
    platform.create("bound", nodes=2)
    platform.wait_all_running("bound", 2)
    poller = Poller(platform)
    ids = platform.ids_of("bound")
    timed = {"bind": [], "unbind": [], "its statements": [], "the end's statements": []}

    def measure(what, action):
        start = time.monotonic()
        action()
        timed[what].append(time.monotonic() - start)

    def ask(method, path, status, body=None):
        answer = poller.ask(method, path, body)
        if answer[0] != status:
            raise Failed(f"{method} {path} was answered {answer}")
    owner = platform.record("bound")["app_credentials"]["username"]
    floor_of = floor.Roles(lambda: platform.connect(platform.leader("bound")), owner)
    for number in range(rounds):
        path = platform.binding_path("bound", f"timed{number}")
        measure("bind", lambda: ask("PUT", path, 201, ids))
        measure("its statements", lambda: floor_of.create(f"timed{number}"))
        measure("unbind", lambda: ask("DELETE", path + "?" + urllib.parse.urlencode(ids), 200))
        measure("the end's statements", lambda: floor_of.drop(f"timed{number}"))
    platform.remove("bound")
    for what, ground in (("bind", "its statements"), ("unbind", "the end's statements")):
        whole, alone = (statistics.median(timed[name]) * 1000 for name in (what, ground))
        row(f"{what}, beyond its statements", f"{GOAL_BINDING_MS} ms", f"{whole - alone:.0f} ms",
            f"{whole:.0f} ms - {alone:.0f} ms, medians of {rounds}, in turn, each with its replica's replay")


class Poller:
    """One connection that is kept, to poll without a pause."""

    def __init__(self, platform):
        self.connection = http.client.HTTPConnection(platform.broker_host, platform.broker_port, timeout=30)
        token = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        self.headers = {"Authorization": "Basic " + token, "X-Broker-API-Version": API_VERSION,
                        "Connection": "keep-alive", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def own_share(platform, count):
    """PUT to succeeded with cells that make nodes appear at once."""
    poller, times = Poller(platform), []
    body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": 2}}
    for number in range(count):
        path = f"/v2/service_instances/share{number}"
        start = time.monotonic()
        status, answer = poller.ask("PUT", path + "?accepts_incomplete=true", body)
        if status != 202:
            raise Failed(f"PUT was answered {status}: {answer}")
        while True:
            state = poller.ask("GET", path + "/last_operation")[1]["state"]
            if state != "in progress":
                break
            if time.monotonic() - start > 30:
                raise Failed(f"{path} did not succeed in 30 s")
            time.sleep(0.001)  # leaves the processor to the broker
        times.append(time.monotonic() - start)
        if state != "succeeded":
            raise Failed(f"{path} ended as {state}")
        platform.remove(f"share{number}")
    times.sort()
    row("own share: nodes appear at once", f"{GOAL_OWN_SHARE_MS} ms", f"{statistics.median(times) * 1000:.0f} ms",
        f"median of {count}; 90 % within {times[int(count * 0.9) - 1] * 1000:.0f} ms")


def rate(uri, headers=()):
    """Requests a second by wrk: 32 connections, one thread, three seconds."""
    words = [word for header in headers for word in ("-H", header)]
    done = subprocess.run(["wrk", "-c32", "-t1", "-d3s", *words, uri], text=True, capture_output=True, timeout=60)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found or "Non-2xx" in done.stdout:
        raise Failed(f"wrk {uri}: {done.stdout}{done.stderr}")
    return float(found.group(1))


def polling_rate(platform, rounds):
    """last_operation beside a trivial handler in the same server, in turn."""
    platform.create("polled", nodes=2)
    token = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    headers = ["Authorization: Basic " + token, f"X-Broker-API-Version: {API_VERSION}"]
    trivial = subprocess.Popen([BUILD / "test/bench/trivial_server", platform.address, "3001"],
                               stdin=subprocess.DEVNULL)
    try:
        base = f"http://{platform.address}:3001/"
        def serves():
            try:
                connection = http.client.HTTPConnection(platform.address, 3001, timeout=1)
                connection.request("GET", "/")
                return connection.getresponse().status == 200
            except OSError:
                return False
        wait_until(serves, "the trivial server")
        polls, bare = [], []
        for _ in range(rounds):
            polls.append(rate(platform.broker_uri + "/v2/service_instances/polled/last_operation", headers))
            bare.append(rate(base, headers))
    finally:
        trivial.terminate()
        trivial.wait(10)
    platform.remove("polled")
    poll, ground = statistics.median(polls), statistics.median(bare)
    row("last_operation / trivial handler", f"{GOAL_OF_TRIVIAL:.2f}", f"{poll / ground:.2f}",
        f"{poll:,.0f} / {ground:,.0f} requests a second, medians of {rounds}, in turn")


def felt_by_clients(platform, templates, short):
    count = 3 if short else 200
    refused, took = clients.refused_at_once(platform, count)
    row("refused at once after a bind", "0", f"{refused}",
        f"of {count}; the others connected in {clients.median(took):.0f} ms, median")
    databases, sessions, passing = (1, 3, 2) if short else (4, 25, 200)
    cut, reloads = clients.beside_open_sessions(platform, databases, sessions, passing)
    row("open sessions cut, reloads of HAProxy", "0, 0", f"{cut}, {reloads}",
        f"of {databases * sessions} sessions, while {passing} instances came and went")
    took, logins = clients.seconds_to_the_new_leader(platform, 1 if short else 5)
    login = clients.median(logins)
    row("leader's key to a connection there", f"{GOAL_TO_LEADER_MS} ms",
        f"{(clients.median(took) - login) * 1000:.0f} ms",
        f"median of {len(took)} switchovers: {clients.median(took) * 1000:.0f} ms to the end of a login, which takes"
        f" {login * 1000:.0f} ms while nothing changes; at most {max(took) * 1000:.0f} ms")
    ours, alone = clients.gaps_of_a_killed_leader(platform, templates, 1 if short else 3)
    row("write gap, leader killed / Patroni alone", f"{GOAL_OF_PATRONI:.2f}",
        f"{clients.median(ours) / clients.median(alone):.2f}",
        f"{clients.median(ours):.2f} s / {clients.median(alone):.2f} s, medians of {len(ours)}, in turn")


def growing(sizes, counted):
    """A fleet at several sizes, and the last one read again by a broker that starts."""
    with growth.fleet() as platform:
        platform.wait_broker_acts()
        at_rest = pss_mb(platform.broker.pid)
        fleet = growth.Fleet(platform, Poller, counted)
        grown = []
        for size in sizes:
            grown.append(fleet.grow(size))
            print(f"  at {size:,}: {grown[-1].rate:.0f} provisions a second; of a processor each takes the broker"
                  f" {grown[-1].broker_ms:.1f} ms and etcd {grown[-1].etcd_ms:.1f} ms", flush=True)
        first, last = grown[0], grown[-1]
        between = f"at {sizes[-1]:,} / at {sizes[0]:,}"
        row(f"rate of provisions {between}", "1.00", f"{last.rate / first.rate:.2f}",
            f"{last.rate:.0f} / {first.rate:.0f} a second; etcd's own part of each takes"
            f" {last.etcd_ms / max(first.etcd_ms, 0.1):.2f} times as long, the simulated cells' writes included")
        row(f"broker's processor time a provision {between}", "1.00",
            f"{last.broker_ms / max(first.broker_ms, 0.1):.2f}", f"{last.broker_ms:.1f} / {first.broker_ms:.1f} ms")
        fleet.give_roles()
        by_curl, megabytes = growth.seconds_to_read_by_curl(platform)
        with growth.Watch(platform, Poller, fleet.count) as watch:
            took = growth.seconds_to_load(platform, Poller)
            platform.wait_broker_acts()
        goal = max(GOAL_LOAD_S, GOAL_LOAD_OF_CURL * by_curl)
        row(f"a broker reads {sizes[-1]:,} instances", f"{goal:.1f} s", f"{took:.1f} s",
            f"curl reads the same {megabytes:,.0f} MB in {by_curl:.1f} s; meanwhile the 99th percentile of"
            f" {len(watch.polls):,} polls of any of them ({watch.refused} in vain)"
            f" {watch.slowest_of_hundred() * 1000:.0f} ms, longest gap between two"
            f" renewals of the lease {watch.longest_gap():.1f} s")
        each = (pss_mb(platform.broker.pid) - at_rest) * 1024 / sizes[-1]
        row("its memory for each of them", f"{GOAL_KB_EACH} kB", f"{each:.1f} kB", "after it has read them")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="one round of almost all")
    short = parser.parse_args().short
    with Platform(simulated=True, say=print) as platform:
        print("With simulated cells:", flush=True)
        platform.wait_broker_acts()
        row("broker memory at rest (PSS)", f"{GOAL_MEMORY_MB} MB", f"{pss_mb(platform.broker.pid):.1f} MB",
            "after its start, with no instance")
        own_share(platform, 3 if short else 50)
        # A load generator has nothing to say in a moment.
        if short and not (shutil.which("wrk") and (BUILD / "test/bench/trivial_server").exists()):
            print("  last_operation / trivial handler: left out, for there is no wrk or no trivial server")
        else:
            polling_rate(platform, 1 if short else 5)
    print("With a fleet that grows:", flush=True)
    growing([10, 20, 40] if short else [1_000, 10_000, 50_000], 10 if short else 1_000)
    with Platform(say=print, held=1) as platform:
        print("With real cells:", flush=True)
        platform.wait_broker_acts()
        templates = cold_provision(platform, 1 if short else 5)
        bindings(platform, 3 if short else 30)
        felt_by_clients(platform, templates, short)
        if not short:
            write_gaps(platform, 3)
    print_table()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        print_table()
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
