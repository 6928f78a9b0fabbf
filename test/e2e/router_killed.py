"""HAProxy and the router are killed: how long no client can connect, and which connections survive."""

import contextlib
import os
import signal
import time

import psycopg2

from checks import equal, rows_of, scenario
from fencing import router_status
from offers import SINGLE, STRICT
from processes import command_of, processes_of
from waiting import wait_until

PLATFORM = STRICT


def haproxy(platform):
    """HAProxy's processes: the master, then its workers from the oldest to the newest."""
    return sorted(pid for pid in processes_of(platform.directory / "router")
                  if command_of(pid)[:1] and command_of(pid)[0].endswith("/haproxy"))


def lets_in(uri):
    with contextlib.suppress(psycopg2.OperationalError):
        psycopg2.connect(uri, connect_timeout=10).close()
        return True
    return False


@scenario("a killed HAProxy is restarted, and no process of the old one is left")
def haproxy_killed(platform):
    platform.create("served", nodes=1, plan=SINGLE)
    uri = platform.bind("served", "app")["uri"]
    for what, which in (("worker", -1), ("master", 0)):
        wait_until(lambda: lets_in(uri), "the port to let one in")
        before = haproxy(platform)
        killed = time.monotonic()
        os.kill(before[which], signal.SIGKILL)
        wait_until(lambda: not set(before) & set(haproxy(platform)) and lets_in(uri),
                   "another HAProxy to let one in")
        print(f"       {what} killed: let in again after {time.monotonic() - killed:.2f} s")
    platform.remove("served")
    platform.plan_of.pop("served", None)


@scenario("connections survive while the router is killed and restarted")
def router_killed(platform):
    platform.create("served", nodes=1, plan=SINGLE)
    uri = platform.bind("served", "app")["uri"]
    wait_until(lambda: lets_in(uri), "the port to let one in")
    before = haproxy(platform)
    with contextlib.closing(psycopg2.connect(uri)) as held:
        cursor = held.cursor()

        def works():
            cursor.execute("select 1")
            return cursor.fetchall()
        platform.router.kill()
        platform.router.running.wait()
        equal(works(), [(1,)], "a connection of before, without a router")
        equal(rows_of(uri, "select 2"), [(2,)], "a new connection, without a router")
        started = time.monotonic()
        platform.router.start()

        def is_ready():
            with contextlib.suppress(OSError):
                return router_status(platform)["status"] == "ok"
            return False
        wait_until(is_ready, "the router to follow etcd")
        print(f"       the next router followed etcd after {time.monotonic() - started:.2f} s")
        equal(haproxy(platform), before, "HAProxy's processes")
        equal(works(), [(1,)], "a connection of before, with the next router")
    platform.remove("served")
    platform.plan_of.pop("served", None)
