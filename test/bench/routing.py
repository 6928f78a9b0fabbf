"""The router alone on an etcd of its own, with members that pretend: what instances that come and go
cost the sessions of others, and how soon a new leader is reached. Each function returns figures, and
asserts nothing; `routing.py` by itself prints them."""

import base64
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

from asking import http_json  # noqa: E402
from layout import MATRIARCH  # noqa: E402
from waiting import Failed, wait_until  # noqa: E402

HELLO = b"hello..\n"  # what every client says first


class Member:
    """Patroni's REST API, and a database that says its name and then returns what it gets."""

    def __init__(self, name, host, scope):
        self.name, self.host, self.scope, self.leads = name, host, scope, False
        self.listeners = [self._listen(5432, self._serve), self._listen(8008, self._answer)]

    def close(self):
        for listener in self.listeners:
            listener.close()

    def _listen(self, port, what):
        listener = socket.create_server((self.host, port), backlog=512)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=self._quietly, args=(what, listener.accept()[0]), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        return listener

    @staticmethod
    def _quietly(what, client):
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            what(client)

    def _serve(self, client):
        client.recv(len(HELLO))
        client.sendall(self.name.encode() + b"\n")
        while piece := client.recv(256):
            client.sendall(piece)

    def _answer(self, client):
        asked = client.recv(4096)
        is_so = b" /primary" in asked and self.leads
        body = json.dumps({"patroni": {"version": "3.0.2", "scope": self.scope}}).encode()
        client.sendall(b"HTTP/1.0 %d x\r\nContent-Length: %d\r\n\r\n" % (200 if is_so else 503, len(body)) + body)

    @property
    def announcement(self):
        return json.dumps({"conn_url": f"postgres://{self.host}:5432/postgres",
                           "api_url": f"http://{self.host}:8008/patroni", "state": "running", "role": "replica"})


class Session:
    """A client's connection; `name` says who answered, None that nobody did."""

    def __init__(self, address):
        self.socket, self.name = None, None
        with contextlib.suppress(OSError):
            self.socket = socket.create_connection(address, 5)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(HELLO)
            self.name = self.socket.recv(64).decode().strip() or None

    def works(self):
        try:
            self.socket.sendall(b"ping")
            return self.socket.recv(64) == b"ping"
        except OSError:
            return False

    def close(self):
        if self.socket:
            self.socket.close()


class Router:
    """An etcd and a router with HAProxy, in a directory that is gone afterwards."""

    def __init__(self, ports=300, octet=None):
        self.octet = octet or 100 + os.getpid() % 100
        self.host = f"127.{self.octet}.201.1"
        self.first, self.count = 20_000, ports
        self.etcd_uri = f"http://{self.host}:2379"
        self.members, self.processes = [], []

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="matriarch-bench-")
        directory = pathlib.Path(self.temporary.name)
        self._start(directory, "etcd", [
            "etcd", "--data-dir", directory / "etcd", "--listen-client-urls", self.etcd_uri,
            "--advertise-client-urls", self.etcd_uri, "--listen-peer-urls", f"http://{self.host}:2380",
            "--initial-advertise-peer-urls", f"http://{self.host}:2380",
            "--initial-cluster", f"default=http://{self.host}:2380", "--log-level", "error"])
        wait_until(lambda: self._answers(self.etcd_uri + "/health"), "etcd")
        config = directory / "router.yml"
        config.write_text(json.dumps({
            "router": {"id": "bench", "bind_host": self.host, "data_dir": str(directory / "router"),
                       "ports": {"first": self.first, "last": self.first + self.count - 1}, "stop_grace": "100ms",
                       "status": {"bind_host": self.host, "port": 8890}},
            "etcd": {"machines": [self.etcd_uri]}}))
        self._start(directory, "router", [MATRIARCH, "router", "--config", config])
        wait_until(lambda: self.serves() > 0, "the router")
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        for member in self.members:
            member.close()
        self.temporary.cleanup()

    def _start(self, directory, name, command):
        with open(directory / f"{name}.log", "wb") as log:
            self.processes.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log))

    @staticmethod
    def _answers(uri):
        with contextlib.suppress(OSError):
            return http_json("GET", uri, timeout=2)[0] == 200
        return False

    def member(self, name, scope):
        member = Member(name, f"127.{self.octet}.202.{len(self.members) + 1}", scope)
        self.members.append(member)
        return member

    def _etcd(self, path, body):
        status, _, answer = http_json("POST", self.etcd_uri + path, body, timeout=10)
        if status != 200:
            raise Failed(f"etcd answered {status}: {answer}")
        return answer

    def put(self, keys, gone=()):
        """Writes and deletes in one transaction; gives its revision."""
        encoded = lambda text: base64.b64encode(text.encode()).decode()
        answer = self._etcd("/v3/kv/txn", {"success": [
            *({"requestPut": {"key": encoded(key), "value": encoded(value)}} for key, value in keys.items()),
            *({"requestDeleteRange": {"key": encoded(key)}} for key in gone)]})
        return int(answer["header"]["revision"])

    def serves(self):
        """Up to which revision the router says in etcd that it serves."""
        answer = self._etcd("/v3/kv/range", {"key": base64.b64encode(b"/routers/bench").decode()})
        return max([int(json.loads(base64.b64decode(entry["value"]))["serves"]) for entry in answer.get("kvs", [])],
                   default=0)

    def reloads(self):
        return http_json("GET", f"http://{self.host}:8890/healthz", timeout=5)[2]["reloads"]

    def port(self, number):
        return self.host, self.first + number

    def keys_of(self, name, number, members, leader=None, scope=None):
        scope = scope or name
        keys = {f"/service/{scope}/members/{member.name}": member.announcement for member in members}
        keys[f"/service/{name}/state"] = json.dumps(
            {"scope": scope, "phase": "accepted", "nodes": [{"node_id": member.name} for member in members],
             # Room for all sessions of one address: a port's limit is not what is measured here.
             "in_force": {"parameters": {"max_connections": "1000"}}})
        keys[f"/routing/allocation/{name}"] = str(self.first + number)
        if leader:
            keys[f"/service/{scope}/leader"] = leader.name
        return keys


def come_and_go(router, instances=200, sessions=100):
    """So many instances come and go while sessions of another one stay open: how many of these were
    cut, HAProxy's reloads, how many instances could not be reached once the router said that it serves
    them, and the median time from the keys to that word, in ms."""
    home, guest = router.member("home", "home"), router.member("guest", "guest")
    home.leads = guest.leads = True
    router.put(router.keys_of("home", 0, [home], home))
    wait_until(lambda: Session(router.port(0)).name == "home", "the instance that stays")
    held = [Session(router.port(0)) for _ in range(sessions)]
    before, refused, told = router.reloads(), 0, []
    for number in range(1, instances + 1):
        name, started = f"guest-{number}", time.monotonic()
        at = router.put(router.keys_of(name, number, [guest], guest, "guest"))
        wait_until(lambda: router.serves() >= at, "the router to serve an instance")
        told.append(1000 * (time.monotonic() - started))
        session = Session(router.port(number))
        refused += session.name != "guest"
        session.close()
        router.put({}, [f"/service/{name}/state", f"/routing/allocation/{name}"])
    cut = sum(not session.works() for session in held)
    for session in held:
        session.close()
    return {"cut": cut, "of": sessions, "reloads": router.reloads() - before, "refused": refused,
            "instances": instances, "told_ms": statistics.median(told)}


def leader_changes(router, times=20):
    """From a leader key's change in etcd to the first connection at the new leader, and to the end of
    a session with the old one, in ms: (median, worst) of each."""
    members = [router.member(f"m{number}", "moving") for number in (1, 2)]
    members[0].leads = True
    port = router.port(router.count - 1)
    router.put(router.keys_of("moving", router.count - 1, members, members[0]))
    wait_until(lambda: Session(port).name == members[0].name, "the first leader")
    reached, ended = [], []
    for number in range(times):
        old, new = members[number % 2], members[(number + 1) % 2]
        held = Session(port)
        old.leads, new.leads = False, True
        started = time.monotonic()
        router.put({"/service/moving/leader": new.name})
        while (session := Session(port)).name != new.name:
            session.close()
        reached.append(1000 * (time.monotonic() - started))
        session.close()
        held.socket.settimeout(10)
        with contextlib.suppress(OSError):
            held.socket.recv(1)
        ended.append(1000 * (time.monotonic() - started))
        held.close()
        time.sleep(0.1)
    return {"reached_ms": (statistics.median(reached), max(reached)),
            "ended_ms": (statistics.median(ended), max(ended))}


def main():
    with Router() as router:
        print(come_and_go(router))
        print(leader_changes(router))


if __name__ == "__main__":
    main()
