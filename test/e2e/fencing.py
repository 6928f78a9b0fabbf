"""A leader that freezes and is replaced: connections leave it, and it cannot take writes when it resumes.
The measured times are printed."""

import contextlib
import os
import select
import socket
import subprocess
import threading
import time

import psycopg2

from asking import http_json
from checks import equal, exactly_as_asked, scenario, true
from databases import Writer
from offers import STRICT, SYNCHRONOUS
from waiting import PATIENCE, Failed, wait_until

PLATFORM = STRICT


class DirectWriters:
    """Clients that write without pause to a node's own address, past the router, whatever the node's
    role, half of them in transactions. A connection that ends is opened again."""

    COUNT = 4

    def __init__(self, platform, node):
        self.platform, self.node = platform, node
        self.acknowledged = []  # (number, time)
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(first,), daemon=True)
                        for first in range(self.COUNT)]

    def __enter__(self):
        platform, node = self.platform, self.node
        platform.ask_node(node, "create table if not exists direct (number bigint primary key)")
        self.first = platform.ask_node(node, "select coalesce(max(number), 0) from direct")[0][0]
        for thread in self.threads:
            thread.start()
        wait_until(lambda: len(self.acknowledged) > 50, "the direct writers to write")
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(20)

    def _write(self, which):
        number = self.first + which
        while not self.ended.is_set():
            try:
                with contextlib.closing(self.platform.connect(
                        self.node, options="-c statement_timeout=5s")) as connection:
                    connection.autocommit = which % 2 == 0
                    cursor = connection.cursor()
                    while not self.ended.is_set():
                        number += self.COUNT
                        cursor.execute("insert into direct values (%s)", (number,))
                        connection.commit()
                        self.acknowledged.append((number, time.monotonic()))
                        time.sleep(0.002)
            except (psycopg2.Error, Failed):
                time.sleep(0.01)

    def lost(self, leader, since):
        """(number, seconds after `since`) of the rows acknowledged since then that a leader does not
        have."""
        present = {row[0] for row in self.platform.ask_node(leader, "select number from direct")}
        return [(number, at - since) for number, at in self.acknowledged if at >= since and number not in present]


def cluster(platform, name, plan=None):
    """A cluster of two nodes: its leader and its application's credentials."""
    platform.create(name, nodes=2, **({} if plan is None else {"plan": plan}))
    exactly_as_asked(platform, name, 2)
    if plan == SYNCHRONOUS:
        def has_standby():
            leader = platform.leader(name)
            return any(node != leader and node in platform.keys(f"/service/{name}/sync").get(
                f"/service/{name}/sync", "") for node in platform.nodes_of(name))
        wait_until(has_standby, "the replica to be synchronous")
    return platform.leader(name), platform.bind(name, "app")["uri"]


def another_leader(platform, name, old):
    return wait_until(lambda: platform.leader(name) not in (None, old) and platform.leader(name),
                      "another leader")


def router_status(platform):
    status = platform.router_configuration()["router"]["status"]
    return http_json("GET", f"http://{status['bind_host']}:{status['port']}/healthz")[2]


def has_ended(connection):
    """Whether the other side has ended a connection on which nothing was sent."""
    ready, _, _ = select.select([connection], [], [], 0)
    if not ready:
        return False
    with contextlib.closing(socket.socket(fileno=os.dup(connection.fileno()))) as same:
        try:
            return not same.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


def when_ended(connections):
    """The moment at which each of these connections was ended, by its name."""
    ended = {}

    def all_ended():
        for name, connection in connections.items():
            if name not in ended and has_ended(connection):
                ended[name] = time.monotonic()
        return len(ended) == len(connections)
    wait_until(all_ended, lambda: f"connections to end: {sorted(connections.keys() - ended.keys())}")
    return ended


@scenario("connections to a frozen leader end, and new instances end no connection")
def connections_follow(platform):
    old, uri = cluster(platform, "followed")
    connections = {}
    with Writer(uri) as writer:
        reloads = router_status(platform)["reloads"]
        for name in ("before another instance", "after it"):
            connections[name] = psycopg2.connect(uri, connect_timeout=60)
            if name != "after it":
                platform.create("another", nodes=1)
        true(not any(has_ended(connection) for connection in connections.values()),
             "an instance that came ended a connection")
        equal(router_status(platform)["reloads"], reloads, "HAProxy's reloads")
        with platform.frozen(old):
            frozen = time.monotonic()
            ended = when_ended(connections)
            another_leader(platform, "followed", old)
            led = time.monotonic()
            writer.wait_for_writes(20)
    for connection in connections.values():
        connection.close()
    print("       seconds after the freeze: " + ", ".join(
        f"connection of {name} ended {at - frozen:.1f}" for name, at in ended.items())
        + f", another led {led - frozen:.1f}; writes failed for {writer.longest_gap():.1f}")
    exactly_as_asked(platform, "followed", 2)
    for name in ("followed", "another"):
        platform.remove(name)


def frozen_and_thawed(platform, plan, agent_too):
    """Freezes a leader until another one has taken writes, with or without its cell's agent, and lets it
    resume while clients write to it directly. Returns the lost rows."""
    old, uri = cluster(platform, "fenced", plan)
    agent = platform.cell(platform.nodes_of("fenced")[old])
    said_before = kills_told(agent)
    with DirectWriters(platform, old) as direct, Writer(uri) as writer:
        writer.wait_for_writes(20)
        if agent_too:
            platform.freeze_process(agent)
        try:
            with platform.frozen(old):
                another_leader(platform, "fenced", old)
                writer.wait_for_writes(20)
                if not agent_too:  # the agent acts, but on a slow machine not before the new leader does
                    wait_until(lambda: kills_told(agent) > said_before, "the cell to kill the node that stands still")
            thawed = time.monotonic()
        finally:
            platform.freeze_process(agent, go_on=True)
        writer.wait_for_writes(100)
    exactly_as_asked(platform, "fenced", 2)
    # The old leader's own rows are gone, and it has the others: it was rewound, or copied again.
    wait_until(lambda: agree(platform, "fenced"), "both nodes to have the same rows")
    if plan == SYNCHRONOUS:
        missing = writer.missing()
        true(not missing, f"{len(missing)} rows acknowledged by the public port are missing: {missing[:5]}")
    # Without a synchronous replica the last rows before a failover may be lost as always.
    lost = direct.lost(platform.leader("fenced"), thawed if plan is None else 0.0)
    after = [at - thawed for _, at in direct.acknowledged if at >= thawed]
    print(f"       {'asynchronous' if plan is None else 'synchronous'}: {len(direct.acknowledged)} rows written "
          f"directly, {len(after)} of them after the thaw"
          + (f", the last {max(after):.2f} s after it" if after else "") + f"; {len(lost)} lost")
    platform.remove("fenced")
    platform.plan_of.pop("fenced", None)
    return lost


def kills_told(agent):
    """How often a cell has logged that it killed a leader that was replaced."""
    return agent.log.read_text().count("does not answer and")


def agree(platform, name):
    """Whether all nodes of an instance have the same rows."""
    with contextlib.suppress(psycopg2.Error, Failed):
        found = [platform.ask_node(node, "select count(*), max(number) from direct")
                 for node in platform.nodes_of(name)]
        return all(one == found[0] for one in found)
    return False


@scenario("a leader that froze and was replaced takes no write when it resumes, and becomes a replica")
def no_writes(platform):
    for plan in (None, SYNCHRONOUS):
        lost = frozen_and_thawed(platform, plan, agent_too=False)
        true(not lost, f"rows that the old leader acknowledged are lost: {lost[:3]} … {lost[-3:]}")


@scenario("a frozen leader's machine that resumes does not take back the lead, and a synchronous plan loses nothing")
def machine_stood_still(platform):
    for plan in (None, SYNCHRONOUS):
        lost = frozen_and_thawed(platform, plan, agent_too=True)
        # Without a replica's confirmation, writes sent directly in the first moments are lost.
        true(plan is None or not lost, f"rows that the old leader acknowledged are lost: {lost[:3]} …")


# Patroni's own code, with the guard that cells put before it. `old` leads, its lease ends, and then
# it tries to go on as leader as if it knew nothing: first while `new` leads, then while nobody
# does.
LEASES = """
import sys, time
from patroni.dcs.etcd3 import Etcd3

def member(name):
    return Etcd3({'scope': 'guard', 'name': name, 'namespace': '/guard-test/', 'ttl': 30, 'loop_wait': 10,
                  'retry_timeout': 10, 'host': sys.argv[1], 'patronictl': True})

def lose(one):
    one._client.call_rpc('/lease/revoke', {'ID': one._lease})

old, new = member('old'), member('new')
assert old.attempt_to_acquire_leader()
old.get_cluster()
assert old.update_leader(None)
lose(old)
assert new.attempt_to_acquire_leader()
assert not old.update_leader(None), 'the old leader takes the lead from the new one'
new.get_cluster()
assert new.cluster.leader.name == 'new', new.cluster.leader
assert new.update_leader(None)
lose(new)
assert new.update_leader(None), 'a leader whose lease has ended while nobody leads cannot go on'
assert new.get_cluster().leader.name == 'new'
new.delete_cluster()
print('held')
"""


@scenario("Patroni never takes the leader key from a successor")
def key_is_not_stolen(platform):
    platform.create("guarded", nodes=1)
    node = platform.leader("guarded")
    host = platform.etcd_uri.split("://")[1]
    ran = subprocess.run(["/usr/bin/python3", "-c", LEASES, host], capture_output=True, text=True, timeout=PATIENCE,
                         env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(platform.node_files(node) / "python")})
    equal(ran.stdout.strip(), "held", f"what Patroni does with its key ({ran.stderr.strip()[-600:]})")
    platform.remove("guarded")
