"""What clients of the databases feel, for bench.py: each function measures and gives figures."""

import contextlib
import http.client
import json
import socket
import statistics
import threading
import time
import urllib.parse

import psycopg2

import floor
from asking import encoded, http_json
from databases import Writer
from waiting import Failed, wait_until


def refused_at_once(platform, count):
    """How many of `count` new bindings could not be used at the moment when they were answered, and
    the milliseconds that the others took to connect."""
    platform.create("first", nodes=1)
    refused, took = 0, []
    for number in range(count):
        uri = platform.bind("first", f"app{number}")["uri"]
        start = time.monotonic()
        try:
            psycopg2.connect(uri, connect_timeout=5).close()
            took.append((time.monotonic() - start) * 1000)
        except psycopg2.OperationalError:
            refused += 1
        platform.unbind("first", f"app{number}")
    platform.remove("first")
    return refused, took


def reloads_of(platform):
    """How often the router has reloaded HAProxy; one that does not say so has no such thing."""
    status = platform.router_configuration()["router"]["status"]
    return http_json("GET", f"http://{status['bind_host']}:{status['port']}/healthz")[2].get("reloads", 0)


def beside_open_sessions(platform, databases, sessions, count):
    """(how many of the open sessions were cut, reloads) while `count` other instances came and went, on
    cells that only pretend. Each of `databases` real ones has `sessions` sessions through its port."""
    pretending = [cell.guid for cell in platform.held]
    with contextlib.ExitStack() as open_ones:
        connections = []
        for number in range(databases):
            platform.create(f"open{number}", nodes=1)
            uri = platform.bind(f"open{number}", "app")["uri"]
            for _ in range(sessions):
                connection = open_ones.enter_context(contextlib.closing(psycopg2.connect(uri, connect_timeout=30)))
                connection.autocommit = True
                connections.append(connection)
        before = reloads_of(platform)
        for number in range(count):
            platform.create(f"passing{number}", nodes=1, cells=pretending)
            platform.remove(f"passing{number}")
        reloads, cut = reloads_of(platform) - before, 0
        for connection in connections:
            try:
                connection.cursor().execute("select 1")
            except psycopg2.Error:
                cut += 1
    for number in range(databases):
        platform.unbind(f"open{number}", "app")
        platform.remove(f"open{number}")
    return cut, reloads


class LeaderKey:
    """The moments at which etcd says that a scope has another leader."""

    def __init__(self, platform, scope):
        self.changes = []  # (node, time)
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(platform.etcd_uri).netloc, timeout=60)
        self.connection.request("POST", "/v3/watch", json.dumps(
            {"create_request": {"key": encoded(f"/service/{scope}/leader")}}))
        self.stream = self.connection.getresponse()
        self.stream.readline()  # that the watch has begun
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while line := self.stream.readline():
                at = time.monotonic()
                for event in json.loads(line).get("result", {}).get("events", []):
                    if event.get("type") != "DELETE":
                        self.changes.append((event["kv"]["value"], at))

    def close(self):
        # The thread that reads would be waited for up to the time-out.
        with contextlib.suppress(OSError):
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def seconds_to_the_new_leader(platform, rounds):
    """(from a leader's key in etcd to the end of the first login that the public port leads to that node; what
    such a login takes while nothing changes, with as many clients), in seconds."""
    platform.create("led", nodes=2)
    platform.wait_all_running("led", 2)
    uri = platform.bind("led", "app")["uri"]
    took, logins = [], []
    for _ in range(rounds):
        old = platform.leader("led")
        new = next(node for node in platform.nodes_of("led") if node != old)
        address = platform.node_configuration(new)["postgresql"]["connect_address"].split(":")[0]
        key, reached, ended = LeaderKey(platform, "led"), [], threading.Event()

        def connect():
            while not ended.is_set():
                start = time.monotonic()
                with contextlib.suppress(psycopg2.Error), contextlib.closing(
                        psycopg2.connect(uri, connect_timeout=1)) as connection:
                    at = time.monotonic()
                    logins.append(at - start)
                    cursor = connection.cursor()
                    cursor.execute("select host(inet_server_addr())")
                    if cursor.fetchone()[0] == address:
                        reached.append(at)
        clients = [threading.Thread(target=connect, daemon=True) for _ in range(2)]
        for client in clients:
            client.start()
        status, _, answer = platform.osb("POST", f"/admin/cells/{platform.nodes_of('led')[old]}/demote")
        if status != 200:
            raise Failed(f"the switchover was answered {status}: {answer}")
        wait_until(lambda: reached, "a connection at the new leader")
        ended.set()
        for client in clients:
            client.join()
        key.close()
        changed = [at for node, at in key.changes if node == encoded(new)]
        if not changed:
            raise Failed(f"etcd said nothing of the new leader: {key.changes}")
        took.append(min(reached) - changed[0])
        platform.wait_all_running("led", 2)
    platform.unbind("led", "app")
    platform.remove("led")
    return took, logins


def gaps_of_a_killed_leader(platform, templates, rounds):
    """(through the public port, with Patroni alone and a client that finds the leader by itself): the
    longest write gaps in seconds, in turn."""
    ours, alone = [], []
    for number in range(rounds):
        name = f"killed{number}"
        platform.create(name, nodes=2)
        platform.wait_all_running(name, 2)
        uri = platform.bind(name, "app")["uri"]
        with Writer(uri) as writer:
            writer.wait_for_writes(50)
            at, leader = time.monotonic(), platform.leader(name)
            platform.kill_machine(platform.nodes_of(name)[leader])
            wait_until(lambda: platform.leader(name) not in (None, leader), "another leader")
            writer.wait_for_writes(50)
            ours.append(writer.longest_gap(since=at))
        platform.start_machine(platform.nodes_of(name)[leader])
        platform.wait_all_running(name, 2)
        platform.wait_cells_seen()
        platform.unbind(name, "app")
        platform.remove(name)
        with floor.pair(platform, templates, f"k{number}") as both, Writer(both.uri()) as writer:
            writer.wait_for_writes(50)
            at = time.monotonic()
            both.kill_leader()
            wait_until(lambda: writer.acknowledged[-1][1] > at + 1, "writes to the other node")
            writer.wait_for_writes(50)
            alone.append(writer.longest_gap(since=at))
    return ours, alone


def median(figures):
    return statistics.median(figures) if figures else float("nan")
