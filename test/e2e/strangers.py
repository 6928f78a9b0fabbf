"""Strangers without credentials hold a thousand sockets to an instance's public port: its owner, the
broker, Patroni and the replicas can still connect."""

import contextlib
import socket
import ssl
import struct
import threading
import time

import psycopg2

from checks import equal, rows_of, scenario, true
from hostile_clients import raise_descriptor_limit
from offers import STRICT
from waiting import wait_until

PLATFORM = STRICT

SOCKETS = 1_000
STRANGER = "127.0.0.2"  # all other clients connect from 127.0.0.1
SSL_REQUEST = struct.pack(">II", 8, 80877103)


def startup_packet(**parameters):
    body = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack(">II", 8 + len(body), 196608) + body


ORDINARY = startup_packet(user="stranger", database="db")
REPLICATION = startup_packet(user="stranger", replication="true")

# What each of them sends: (unencrypted, inside TLS or None for no TLS).
KINDS = {
    "nothing": (b"", None),
    "half a word": (b"\0\0\0", None),
    "a StartupPacket": (ORDINARY, None),
    "a StartupPacket for replication": (REPLICATION, None),
    "an SSLRequest": (SSL_REQUEST, None),
    "nothing in TLS": (SSL_REQUEST, b""),
    "a StartupPacket in TLS": (SSL_REQUEST, ORDINARY),
    "a StartupPacket for replication in TLS": (SSL_REQUEST, REPLICATION),
}


class Strangers:
    """That many sockets to a port, each of which is opened again when it is ended."""

    def __init__(self, address, says, count=SOCKETS):
        self.address, (self.clear, self.inside), self.count = address, says, count
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.open, self.ending = [], threading.Event()
        self.threads = [threading.Thread(target=self._hold, args=(count // 4,), daemon=True) for _ in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        # Until each has tried once, or the port accepts no more of them.
        wait_until(lambda: self.tried >= self.count, f"{self.count} strangers to have tried")
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        for one in self.open:
            one.close()

    tried = 0

    def _connect(self):
        one = socket.socket()
        try:
            one.bind((STRANGER, 0))
            one.settimeout(2)
            one.connect(self.address)
            if self.clear:
                one.sendall(self.clear)
            if self.inside is not None and one.recv(1) == b"S":
                one = self.context.wrap_socket(one)
                if self.inside:
                    one.sendall(self.inside)
            one.settimeout(0)
            return one
        except OSError:
            one.close()
            return None

    def _hold(self, count):
        mine = [None] * count
        while not self.ending.is_set():
            for number, one in enumerate(mine):
                if self.ending.is_set():
                    break
                if one is not None:
                    try:
                        if one.recv(4096):
                            continue
                    except (BlockingIOError, ssl.SSLWantReadError):
                        continue
                    except OSError:
                        pass
                    one.close()
                mine[number] = self._connect()
                Strangers.tried += one is None
            # Refused connections are tried again, but not so fast that this program itself becomes
            # the bottleneck.
            self.ending.wait(0.2)
        self.open += [one for one in mine if one is not None]


def seconds(what):
    started = time.monotonic()
    what()
    return time.monotonic() - started


def application_connects(uri):
    with contextlib.closing(psycopg2.connect(uri, connect_timeout=60)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
            equal(cursor.fetchall(), [(1,)], "what an application reads")


def replica_connects(platform, leader):
    """The replica's connection to its leader is ended, and it makes another one."""
    streaming = "select pid from pg_stat_replication where state = 'streaming'"
    before = platform.ask_node(leader, streaming)
    platform.ask_node(leader, "select pg_terminate_backend(pid) from pg_stat_replication")

    def streams():
        now = platform.ask_node(leader, streaming)
        return now and now != before
    wait_until(streams, "the replica to stream again")


@scenario("a thousand sockets of a stranger keep out neither the owner nor the broker nor the replicas")
def strangers_shut_nobody_out(platform):
    raise_descriptor_limit()
    platform.create("public", nodes=2)
    uri = platform.bind("public", "app")["uri"]
    wait_until(lambda: platform.keys("/routing/allocation/public"), "the port")
    leader = platform.leader("public")
    port = (platform.public_host, platform.public_port("public"))
    application_connects(uri)
    for number, (kind, says) in enumerate(KINDS.items()):
        Strangers.tried = 0
        with Strangers(port, says):
            took = {
                "application": seconds(lambda: application_connects(uri)),
                "bind": seconds(lambda: platform.bind("public", f"b{number}")),
                "unbind": seconds(lambda: platform.unbind("public", f"b{number}")),
                "Patroni": seconds(lambda: equal(
                    platform.ask_patroni(leader, "GET", "/primary", timeout=60)[0], 200, "Patroni's answer")),
                "replica": seconds(lambda: replica_connects(platform, leader)),
                "application again": seconds(lambda: application_connects(uri)),
            }
            used = platform.ask_node(leader, "select count(*) from pg_stat_activity")[0][0]
        print(f"       strangers that say {kind}: " + ", ".join(
            f"{what} {time:.2f} s" for what, time in took.items()) + f"; {used} backends")
    equal(rows_of(uri, "select 2"), [(2,)], "a connection afterwards")
    equal(platform.leader("public"), leader, "the leader")
    platform.unbind("public", "app")
    platform.remove("public")


def client_hello():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(coming, going).do_handshake()
    return going.read()


HELLO = client_hello()
TO_PATRONI = {"nothing": b"", "half a handshake": HELLO[:100], "a handshake that is not ended": HELLO,
              "no TLS": b"GET / HTTP/1.0\r\n"}


@scenario("a thousand sockets of a stranger to Patroni's REST API delay neither the checks nor the broker")
def strangers_at_patroni(platform):
    raise_descriptor_limit()
    platform.create("asked", nodes=2)
    uri = platform.bind("asked", "app")["uri"]
    leader = platform.leader("asked")
    restapi = platform.node_configuration(leader)["restapi"]
    host, port = restapi["connect_address"].rsplit(":", 1)
    who = restapi["authentication"]["username"], restapi["authentication"]["password"]
    with contextlib.closing(psycopg2.connect(uri)) as held:
        for kind, says in TO_PATRONI.items():
            Strangers.tried = 0
            with Strangers((host, int(port)), (says, None)):
                checks = [seconds(lambda: equal(platform.ask_patroni(leader, "GET", "/primary", timeout=60)[0], 200,
                                                "Patroni's answer")) for _ in range(20)]
                change = seconds(lambda: equal(
                    platform.ask_patroni(leader, "PATCH", "/config", {"ttl": 5}, auth=who, timeout=60)[0], 200,
                    "a change as the broker makes it"))
                application_connects(uri)
            print(f"       strangers that say {kind} to Patroni: a check {max(checks):.2f} s at most,"
                  f" a change {change:.2f} s")
        # HAProxy's checks have passed all the time; otherwise HAProxy would have ended this
        # session.
        with held.cursor() as cursor:
            cursor.execute("select 3")
            equal(cursor.fetchall(), [(3,)], "a session of before")
    equal(platform.leader("asked"), leader, "the leader")
    platform.unbind("asked", "app")
    platform.remove("asked")


@scenario("whatever a node's settings are, strangers get no more of it than the router lets through")
def new_nodes_have_room(platform):
    platform.create("roomy", nodes=1)
    leader = platform.leader("roomy")
    shown = {name: platform.ask_node(leader, f"show {name}")[0][0]
             for name in ("max_connections", "max_wal_senders", "authentication_timeout")}
    true(int(shown["max_wal_senders"]) >= int(shown["max_connections"]) + 10, f"too few walsenders: {shown}")
    equal(shown["authentication_timeout"], "10s", "authentication_timeout")
    platform.remove("roomy")
