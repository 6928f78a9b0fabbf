#!/usr/bin/python3
"""`make soak`: create, grow, move, bind, delete on the real platform, with a random kill -9 every 20 s.

    soak.py --minutes 30 --seed 7     the same seed kills the same parts in the same order
    soak.py --minutes 3 --tenants 1   less to do for a small machine

Two tenants each make a cluster of a synchronous plan, change it at random while an application writes
numbered rows through the public port, and delete it; over and over. Meanwhile the broker, a cell's
agent, the router, HAProxy, etcd, a leader's node and a leader's machine are killed in a random order,
and started again after a moment. What has to hold, whoever dies: every operation ends, if it fails
with words why; what runs is what was asked for; no two instances share a port; no row that was
acknowledged is missing; nothing is left at the end; nobody's memory grows.

That a failover happens, or how long writes pause, is told but is no failure.
"""

import argparse
import collections
import contextlib
import copy
import os
import pathlib
import random
import re
import signal
import statistics
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

import psycopg2  # noqa: E402

from checks import equal, exactly_as_asked, scenario, true  # noqa: E402
from databases import Writer  # noqa: E402
from local_platform import Platform  # noqa: E402
from patient import CUT_OFF, OPERATION_PATIENCE, Ended, Patient  # noqa: E402
from processes import name_of_process, parent_of, processes_of, tail  # noqa: E402
from waiting import Failed, wait_until  # noqa: E402

SYNCHRONOUS = "9c0f3d1b-5d0e-4a8e-8a43-6f5f4f0f6b1c"  # conf/dev.yml's
SYNCHRONOUS_LARGE = "f2b0c1d4-3a52-4c0e-9d0b-1f6f3c2a7e58"
PARTS = ["broker", "cell agent", "router", "HAProxy", "etcd", "leader's node", "leader's machine"]
CHANGES = ["grow", "shrink", "move", "plan change", "bind", "unbind"]

# For runs of at least this many seconds the thirds are compared: in shorter ones everything still
# warms up.
LONG_ENOUGH = 300


def edit(kind, config):
    """A second synchronous plan, to change to."""
    if kind == "broker":
        plans = config["catalog"]["services"][0]["plans"]
        larger = copy.deepcopy(next(plan for plan in plans if plan["id"] == SYNCHRONOUS))
        larger.update(id=SYNCHRONOUS_LARGE, name="cluster-sync-large")
        larger["provision"]["parameters"]["max_connections"] = "120"
        plans.append(larger)


PLATFORM = {"edit": edit}


class SteadyWriter(Writer):
    """A writer that need not be able to begin at once."""

    PAUSE = 0.05  # 20 rows a second for each tenant
    TIMEOUT = 3.0  # gaps are not judged here, and a busy machine must be able to write

    def __init__(self, uri, patient):
        super().__init__(uri)
        self.patient = patient

    def __enter__(self):
        def begin():
            with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=5)) as connection:
                connection.autocommit = True
                connection.cursor().execute(
                    f"create table if not exists {self.table} (number bigint primary key)")
        self.patient.eventually(begin, "no table can be created")
        self.next = 1
        self.thread.start()
        return self

    def lost(self):
        """The acknowledged numbers that the leader does not have."""
        def read():
            with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=5)) as connection:
                cursor = connection.cursor()
                cursor.execute("select pg_is_in_recovery()")
                true(not cursor.fetchone()[0], "the public port leads to a replica")
                cursor.execute(f"select number from {self.table}")
                return {row[0] for row in cursor.fetchall()}
        try:
            present = self.patient.eventually(read, "the rows cannot be read")
        except psycopg2.errors.UndefinedTable:
            present = set()
        return sorted(number for number, _ in self.acknowledged if number not in present)


class Tenant(threading.Thread):
    """Makes clusters, changes them and deletes them, until it is told to come to an end."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.platform, self.number = soak, soak.platform, number
        self.choice = random.Random(f"{soak.seed} tenant {number}")
        self.name = f"tenant {number}"

    def run(self):
        try:
            life = 0
            while not self.soak.closing.is_set():
                life += 1
                self.one_life(f"soak-{self.number}-{life}")
        except Ended:
            pass
        except Exception:  # whatever it was, the soak looks for it
            self.soak.violated(f"{self.name}: {traceback.format_exc()}")

    def one_life(self, instance):
        self.patient = Patient(self.platform, instance, self.soak.ended)
        self.instance, self.nodes, self.cells, self.plan = instance, 2, None, SYNCHRONOUS
        self.bindings = {}
        state, why = self.timed("create", lambda: self.patient.provision(self.plan, node_count=2))
        if state == "succeeded":
            uri = self.bind("writer")["uri"]
            with SteadyWriter(uri, self.patient) as writer:
                self.soak.writers.append(writer)
                self.live()
            self.as_asked()
            lost = writer.lost()
            self.soak.checked_rows += len(writer.acknowledged)
            true(not lost, f"{len(lost)} of {len(writer.acknowledged)} acknowledged rows of {instance} are "
                           f"missing: {lost[:10]}")
            self.soak.gaps.append(writer.longest_gap())
            self.soak.writers.remove(writer)
            self.unbind("writer")
        while True:
            state, why = self.timed("delete", self.patient.deprovision)
            if state == "gone":
                break
            # A cell was away for too long: the platform asks again.
            equal(state, "failed", f"the end of {instance}'s removal")
        self.patient.eventually(self.nothing_of_it_left, f"something is left of {instance}")
        self.soak.repeated += self.patient.repeated
        self.soak.lives += 1

    def live(self):
        """Some changes, in a random order, after each of which the running nodes are checked."""
        bag = list(CHANGES)
        self.choice.shuffle(bag)
        for change in bag:
            if self.soak.closing.is_set():
                return
            getattr(self, change.replace(" ", "_"))()
            # The application goes on writing for a moment between two changes.
            self.patient.pause(self.choice.uniform(0, 2))

    def timed(self, what, action):
        start = time.monotonic()
        state, why = action()
        self.soak.done(self.instance, what, state, why, time.monotonic() - start)
        return state, why

    def change(self, what, nodes=None, cells=None, plan=None):
        """An update, after which the instance is as wanted, or as before if the update failed."""
        before = (self.nodes, self.cells, self.plan)
        after = (nodes or self.nodes, cells, plan or self.plan)
        parameters = {"node_count": after[0], "cells": cells or self.platform.guids}
        state, why = self.timed(what, lambda: self.patient.update(plan, **parameters))
        if state == "succeeded":
            self.nodes, self.cells, self.plan = after
        else:
            equal(state, "failed", f"the end of a {what}")
            record = self.patient.record()
            self.nodes, self.plan = record["desired"]["node_count"], record["plan_id"]
            true(self.nodes in (before[0], after[0]) and self.plan in (before[2], after[2]),
                 f"a {what} that failed left {self.instance} with what nobody asked for: {record['desired']}")
            self.cells = None  # those from before or those after
        self.as_asked()

    def grow(self):
        self.change("grow", nodes=3)

    def shrink(self):
        self.change("shrink", nodes=2)

    def move(self):
        self.change("move", cells=sorted(self.choice.sample(self.platform.guids, self.nodes)))

    def plan_change(self):
        self.change("plan change", plan=SYNCHRONOUS_LARGE if self.plan == SYNCHRONOUS else SYNCHRONOUS)

    def bind(self, name=None):
        name = name or f"more-{len(self.bindings)}"
        start = time.monotonic()
        credentials = self.bindings[name] = self.patient.bind(name)
        self.soak.done(self.instance, "bind", "succeeded", "", time.monotonic() - start)
        def lets_in():
            psycopg2.connect(credentials["uri"], connect_timeout=5).close()
        self.patient.eventually(lets_in, f"the credentials of {name} do not open {self.instance}")
        return credentials

    def unbind(self, name=None):
        name = name or next((name for name in self.bindings if name != "writer"), None)
        if name is None:
            return
        credentials = self.bindings.pop(name)
        start = time.monotonic()
        self.patient.unbind(name)
        self.soak.done(self.instance, "unbind", "succeeded", "", time.monotonic() - start)
        def refused():
            try:
                psycopg2.connect(credentials["uri"], connect_timeout=5).close()
            except psycopg2.OperationalError as error:
                true("authentication failed" in str(error), f"connecting ends with {error}")
                return
            raise Failed("its password is still accepted")
        self.patient.eventually(refused, f"the credentials of {name} still open {self.instance}")

    def as_asked(self):
        """What runs is what was asked for, as soon as the killed parts are back."""
        self.patient.eventually(lambda: exactly_as_asked(self.platform, self.instance, self.nodes, self.cells),
                                f"{self.instance} is not as asked", OPERATION_PATIENCE)

    def nothing_of_it_left(self):
        scopes = {scope for _, scope in self.platform.running_nodes().values()}
        true(self.instance not in scopes, "a node")
        left = [key for key in self.platform.keys()
                if self.instance in key and not key.startswith("/matriarch/")]
        true(not left, f"{left}")


class Killer(threading.Thread):
    """Kills one part at a time, and starts it again after a moment."""

    def __init__(self, soak, every, count):
        super().__init__(daemon=True, name="killer")
        self.soak, self.platform, self.every = soak, soak.platform, every
        choice = random.Random(f"{soak.seed} kills")
        self.plan = []  # (part, which of them, how long it stays away in seconds)
        while len(self.plan) < count:
            # Each part is killed once before one is killed twice, so that a short soak kills all of
            # them.
            self.plan += [(part, choice.random(), choice.uniform(0.5, 4))
                          for part in choice.sample(PARTS, len(PARTS))]
        self.plan = self.plan[:count]
        self.killed = collections.Counter()
        self.down = set()  # processes that are dead at the moment on purpose

    def run(self):
        try:
            start = time.monotonic()
            for number, (part, which, away) in enumerate(self.plan, 1):
                if self.soak.closing.wait(max(0, start + number * self.every - time.monotonic())):
                    return
                self.kill(part, which, away)
        except Exception:
            self.soak.violated(f"the killer: {traceback.format_exc()}")

    def kill(self, part, which, away):
        platform = self.platform
        if part.startswith("leader"):
            leaders = self.leaders()
            if not leaders:
                part = "cell agent"  # there is no leader at the moment
        self.killed[part] += 1
        if part == "HAProxy":
            self.soak.tell(f"kill -9 of {part}")
            for pid in self.haproxies():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            return  # its router starts it
        if part.startswith("leader"):
            node, guid = leaders[int(which * len(leaders))]
            self.soak.tell(f"kill -9 of {part} ({node[:4]} on {guid})")
            if part == "leader's node":
                with contextlib.suppress(Failed, OSError):
                    platform.kill_node(node)
                return  # its cell starts it
            process = platform.cell(guid)
            self.down.add(process)
            platform.kill_machine(guid)
        else:
            process = {"broker": platform.broker, "router": platform.router, "etcd": platform.etcd,
                       "cell agent": platform.cells[int(which * len(platform.cells))]}[part]
            self.soak.tell(f"kill -9 of {process.name}, for {away:.1f} s")
            self.down.add(process)
            process.kill()
            process.running.wait()
        self.soak.closing.wait(away)
        process.start()
        self.down.discard(process)

    def leaders(self):
        """(node, guid) of all leaders, in the order of the instances' names."""
        found = []
        with contextlib.suppress(Failed, *CUT_OFF):
            running = {node: guid for node, (guid, _) in self.platform.running_nodes().items()}
            for key, node in sorted(self.platform.keys("/service/").items()):
                if key.endswith("/leader") and node in running:
                    found.append((node, running[node]))
        return found

    def haproxies(self):
        return [pid for pid in processes_of(self.platform.directory) if name_of_process(pid) == "haproxy"]


def memory_of(pid):
    """Resident memory in MB."""
    with contextlib.suppress(OSError, AttributeError):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024
    return None


class Soak:
    """One run on a platform."""

    def __init__(self, platform, seconds, seed, every=20, tenants=2, say=print):
        self.platform, self.seconds, self.seed, self.say = platform, seconds, seed, say
        self.closing = threading.Event()  # stop soon: no further kill, no further cluster
        self.ended = threading.Event()  # stop at once: something was violated
        self.violations, self.writers, self.gaps = [], [], []
        self.operations = collections.defaultdict(list)  # what -> (state, seconds)
        self.checked_rows = self.repeated = self.lives = 0
        self.memory = collections.defaultdict(list)  # process -> (seconds since the start, MB)
        self.lock = threading.Lock()
        self.killer = Killer(self, every, int(seconds // every))
        self.tenants = [Tenant(self, number) for number in range(1, tenants + 1)]

    # --- what the threads report ----------------------------------------------------------------

    def tell(self, text):
        seconds = int(time.monotonic() - self.started)
        self.say(f"  {seconds // 60:3}:{seconds % 60:02}  {text}", flush=True)

    def violated(self, text):
        with self.lock:
            self.violations.append(text)
        self.tell(f"VIOLATED: {text}")
        self.closing.set()
        self.ended.set()

    def done(self, instance, what, state, why, seconds):
        with self.lock:
            self.operations[what].append((state, seconds))
        if state == "failed":
            self.tell(f"{what} of {instance} failed: {why}")

    # --- the run -------------------------------------------------------------------------------

    def run(self):
        """Returns whether everything held."""
        self.started = time.monotonic()
        self.tell(f"seed {self.seed}: {len(self.killer.plan)} kills in {self.seconds / 60:.1f} minutes, "
                  f"{len(self.tenants)} tenants")
        for thread in [self.killer, *self.tenants]:
            thread.start()
        next_line, end = 0, self.started + self.seconds
        while any(tenant.is_alive() for tenant in self.tenants):
            self.look_at_processes()
            self.look_at_ports()
            now = time.monotonic()
            if now >= self.started + next_line:
                next_line += 20
                self.sample()
                self.progress()
            if now >= end and not self.closing.is_set():
                self.closing.set()
                self.tell("no more kills; the tenants come to an end")
            if now >= end + 2 * OPERATION_PATIENCE:
                self.violated("the tenants did not come to an end")
                break
            self.ended.wait(1)
        self.closing.set()
        self.killer.join(60)
        self.sample()
        if not self.violations:
            try:
                self.platform.wait_broker_acts()
                self.platform.wait_cells_seen()
                self.platform.wait_nothing_left()
                masters = lambda: [pid for pid in self.killer.haproxies()
                                   if name_of_process(parent_of(pid)) != "haproxy"]
                wait_until(lambda: len(masters()) == 1, lambda: f"one master process of HAProxy; there are {masters()}")
                self.check_memory()
            except (Failed, *CUT_OFF) as error:
                self.violated(f"at the end: {error}")
        return not self.violations

    def look_at_processes(self):
        for process in self.platform.processes:
            if not process.alive() and process not in self.killer.down:
                # The process may have been killed between the two questions.
                if process in self.killer.down or process.alive():
                    continue
                self.violated(f"{process.name} ended by itself with status {process.running.returncode}: "
                              f"{tail(process.log)}")

    def look_at_ports(self):
        with contextlib.suppress(Failed, *CUT_OFF):
            allocated = collections.Counter(
                value for prefix in ("/routing/allocation/", "/routing/readonly/")
                for value in self.platform.keys(prefix).values())
            twice = [port for port, count in allocated.items() if count > 1]
            if twice:
                self.violated(f"two instances share the port {twice[0]}")

    def sample(self):
        for process in self.platform.processes:
            if process is not self.platform.etcd and process.alive():
                megabytes = memory_of(process.pid)
                if megabytes is not None:
                    self.memory[process.name].append((time.monotonic() - self.started, megabytes))

    def progress(self):
        ended = [state for operations in self.operations.values() for state, _ in operations]
        rows = self.checked_rows + sum(len(writer.acknowledged) for writer in self.writers)
        self.tell(f"{sum(self.killer.killed.values())} kills, {len(ended)} operations, {ended.count('failed')} failed, "
                  f"{self.lives} clusters made and deleted, {rows} rows acknowledged, broker "
                  f"{self.memory['broker'][-1][1]:.0f} MB")

    def thirds(self, name):
        """The most memory in the first and in the last third of the run, in MB."""
        samples = self.memory[name]
        length = samples[-1][0]
        return (max((megabytes for at, megabytes in samples if at <= length / 3), default=0),
                max((megabytes for at, megabytes in samples if at >= length * 2 / 3), default=0))

    def check_memory(self):
        """No process grows. A part that was killed starts again from zero, and PostgreSQL's memory is not
        judged."""
        if self.seconds < LONG_ENOUGH:
            return
        for name in self.memory:
            first, last = self.thirds(name)
            # Allocators need a while to settle, and a broker remembers what it has removed for a week.
            true(last <= first * 1.25 + 8, f"{name} had {first:.0f} MB in the first third of the run and "
                                           f"{last:.0f} MB in the last")

    def print_summary(self):
        line = lambda *words: self.say("  ".join(str(word).ljust(18) if n == 0 else str(word).rjust(9)
                                                 for n, word in enumerate(words)), flush=True)
        self.say("")
        line("operation", "ended", "failed", "median s", "longest s")
        for what in ["create", *CHANGES, "delete"]:
            ended = self.operations[what]
            if ended:
                seconds = [took for _, took in ended]
                line(what, len(ended), sum(state == "failed" for state, _ in ended),
                     f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}")
        self.say("")
        line("killed with -9", "times")
        for part in PARTS:
            line(part, self.killer.killed[part])
        self.say("")
        line("memory in MB", "1st third", "3rd third", "at the end")
        for name in self.memory:
            line(name, *(f"{megabytes:.1f}" for megabytes in (*self.thirds(name), self.memory[name][-1][1])))
        self.say(f"""
clusters made and deleted             {self.lives}
rows acknowledged, checked, lost      {self.checked_rows}, {self.checked_rows}, {'see above' if self.violations else 0}
longest gap between two writes        {max(self.gaps, default=0):.1f} s (told, not judged)
requests that had to be sent again    {self.repeated}
violations                            {len(self.violations)}
seed                                  {self.seed}""", flush=True)


@scenario("whatever is killed, each change ends, no acknowledged row is lost, and nothing is left")
def short(platform):
    # Seven kills: each part once.
    soak = Soak(platform, seconds=75, seed=1, every=10)
    held = soak.run()
    soak.print_summary()
    true(held, lambda: soak.violations[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--every", type=float, default=20, help="seconds between two kills")
    parser.add_argument("--tenants", type=int, default=2)
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    print(f"A soak of {chosen.minutes:g} minutes with seed {seed}: starting the platform …", flush=True)
    with Platform(**PLATFORM, say=print) as platform:
        soak = Soak(platform, chosen.minutes * 60, seed, chosen.every, chosen.tenants)
        held = soak.run()
        soak.print_summary()
        platform.failed = not held
    print("\nAll of it held." if held else "\nNot all of it held.")
    return 0 if held else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"soak: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
