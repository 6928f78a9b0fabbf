"""Clients that try to stop the broker, or leave before their answers, and one well-behaved client.

Everything is done with raw sockets and threads; each function returns figures, and asserts nothing.
"""

import base64
import collections
import contextlib
import itertools
import pathlib
import random
import re
import resource
import select
import socket
import struct
import threading
import time

from layout import API_VERSION, PLAN, SERVICE
from waiting import Failed, wait_until

MOST_CONNECTIONS = 1024  # equal to the broker's server_options
PATIENCE = 60  # in seconds for an answer, on a machine with other load


def raise_descriptor_limit():
    """A flood needs more descriptors than the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def memory_mb(pid):
    """The resident memory of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE).group(1)) / 1024


class Target:
    """The broker that is attacked."""

    def __init__(self, platform, source=None):
        """`source`: the address to come from, if it matters."""
        self.address, self.source = (platform.broker_host, platform.broker_port), source
        self.access = "Authorization: Basic " + base64.b64encode(":".join(platform.auth).encode()).decode()

    def connect(self):
        one = socket.create_connection(self.address, PATIENCE, self.source and (self.source, 0))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return one

    def request(self, verb, path, body=b"", access=True, headers=()):
        lines = [f"{verb} {path} HTTP/1.1", "Host: broker", f"X-Broker-API-Version: {API_VERSION}", *headers]
        lines += [self.access] if access else []
        lines += [f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def marked(self, mark, verb="GET", path=None, body=b"", access=True, headers=()):
        """A request whose answer shows which request it belongs to: in its body, and in a header."""
        path = path or f"/v2/service_instances/{mark}/last_operation"
        return self.request(verb, path, body, access, (f"X-Broker-API-Request-Identity: {mark}", *headers))


class Answer:
    def __init__(self, status, head, body):
        self.status, self.head, self.body = status, head, body

    def header(self, name):
        found = re.search(rf"^{name}: (.*?)\r$", self.head, re.MULTILINE | re.IGNORECASE)
        return found.group(1) if found else None


def read_answer(connection, buffer=b""):
    """The next answer of a connection, and the bytes behind it."""
    while b"\r\n\r\n" not in buffer:
        some = connection.recv(65536)
        if not some:
            raise Failed(f"the connection ended within an answer's head: {buffer!r}")
        buffer += some
    head, buffer = buffer.split(b"\r\n\r\n", 1)
    head = head.decode(errors="replace") + "\r\n"
    length = int(re.search(r"^content-length: (\d+)", head, re.MULTILINE | re.IGNORECASE).group(1))
    while len(buffer) < length:
        some = connection.recv(65536)
        if not some:
            raise Failed(f"the connection ended within an answer's body: {head}")
        buffer += some
    return Answer(int(head.split()[1]), head, buffer[:length]), buffer[length:]


def reset(connection):
    """Closes a connection so that the other side sees a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def in_threads(count, work):
    """Calls work(number) in that many threads; what one of them raises is raised here."""
    failures = []

    def run(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)
    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# --- clients that leave before their answers ------------------------------------------------


class Aborted:
    """Sends requests, or parts of them, and leaves. Between these it makes good requests, on new
    connections (which get the descriptors of the closed ones) and on one that is kept, and checks whose
    answers come."""

    KINDS = ("lookup", "lookup", "catalog", "provision", "stranger", "pipeline")

    def __init__(self, target, count, threads=4, seed=1):
        self.target, self.count, self.threads, self.seed = target, count, threads, seed
        self.figures = collections.Counter()
        self.wrong = []  # descriptions of wrong answers
        self.lock = threading.Lock()

    def run(self):
        start = time.monotonic()
        in_threads(self.threads, self._work)
        self.seconds = time.monotonic() - start
        return self

    def _note(self, what, description=None):
        with self.lock:
            self.figures[what] += 1
            if description and len(self.wrong) < 20:
                self.wrong.append(description)

    def _work(self, number):
        chance = random.Random(f"{self.seed}-{number}")
        kept, marks = self.target.connect(), (f"own-{self.seed}-{number}-{n}" for n in itertools.count())
        try:
            for turn in range(number, self.count, self.threads):
                self._abort(chance, f"left-{self.seed}-{turn}")
                if turn % 2 == 0:
                    self._good(next(marks))
                if turn % 5 == 0:
                    self._ask(kept, next(marks), last=False)
        finally:
            kept.close()

    def _bytes(self, chance, mark):
        kind, of = chance.choice(self.KINDS), self.target
        if kind == "lookup":  # answered later, after a question to etcd
            return of.marked(mark)
        if kind == "catalog":
            return of.marked(mark, path="/v2/catalog")
        if kind == "provision":  # refused, once its body was read
            return of.marked(mark, "PUT", f"/v2/service_instances/{mark}", b'{"service_id":"none"}' + b" " * 2000)
        if kind == "stranger":
            return of.marked(mark, access=False)
        return b"".join(of.marked(f"{mark}-{n}") for n in range(5))

    def _abort(self, chance, mark):
        text = self._bytes(chance, mark)
        cut = len(text) if chance.random() < 0.6 else chance.randrange(len(text))
        connection = self.target.connect()
        try:
            connection.sendall(text[:cut])
            self.figures["aborted"] += 1
            if chance.random() < 0.1:  # some stay until the answer begins
                select.select([connection], [], [], 0.02)
            way = chance.randrange(3)
            if way == 0:
                reset(connection)
            elif way == 1:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.figures["aborted"] += 1  # the server had closed the connection before
        finally:
            connection.close()

    def _good(self, mark):
        with contextlib.closing(self.target.connect()) as connection:
            if select.select([connection], [], [], 0)[0]:
                self._note("unasked", f"{mark} got {connection.recv(1000)!r} before it asked")
                return
            self._ask(connection, mark, last=True)

    def _ask(self, connection, mark, last):
        connection.sendall(self.target.marked(mark, headers=("Connection: close",) if last else ()))
        answer, rest = read_answer(connection)
        if answer.header("X-Broker-API-Request-Identity") != mark or f'"{mark}\\"'.encode() not in answer.body:
            self._note("wrong", f"{mark} got {answer.head}{answer.body!r}")
        self._note("good")
        if last:
            rest += connection.recv(1000)
        if rest:
            self._note("unasked", f"{mark} got {rest!r} behind its answer")


# --- clients that flood --------------------------------------------------------------------


class Customer:
    """A platform that works during a flood: it polls on a connection that it keeps and on new ones, and
    notes how long its answers take, and the broker's memory."""

    def __init__(self, target, pid):
        self.target, self.pid = target, pid
        self.ended = threading.Event()
        self.times, self.errors = [], []
        self.most_mb = self.before_mb = memory_mb(pid)

    def __enter__(self):
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.after_mb = memory_mb(self.pid)

    def _poll(self):
        kept = self.target.connect()
        for number in itertools.count():  # at least once, however short the flood is
            start = time.monotonic()
            try:
                self._ask(kept, f"kept-{number}")
                with contextlib.closing(self.target.connect()) as fresh:
                    self._ask(fresh, f"fresh-{number}")
            except (OSError, Failed) as error:
                self.errors.append(f"request {number}: {error}")
                kept.close()
                kept = self.target.connect()
            self.times.append(time.monotonic() - start)
            self.most_mb = max(self.most_mb, memory_mb(self.pid))
            if self.ended.wait(0.01):
                break
        kept.close()

    def _ask(self, connection, mark):
        connection.sendall(self.target.marked(mark, path="/v2/catalog"))
        answer, _ = read_answer(connection)
        if answer.status != 200 or answer.header("X-Broker-API-Request-Identity") != mark:
            raise Failed(f"{answer.head}{answer.body[:200]!r}")

    @property
    def slowest(self):
        return max(self.times, default=0.0)


def idle_connections(target, count):
    """Silent connections, or ones with an unfinished request; all open at the same time. Returns how many
    the broker keeps, once it has seen them all: some wait for it in the kernel."""
    pieces = [b"", b"GET", target.request("GET", "/v2/catalog", access=False)[:-2],
              target.request("GET", "/healthz", b"x" * 4000, access=False)[:-3990]]
    held = []
    for number in range(count):
        with contextlib.suppress(OSError):
            connection = target.connect()
            held.append(connection)
            connection.sendall(pieces[number % len(pieces)])
    def left():
        still = 0
        for connection in held:
            connection.setblocking(False)
            try:
                connection.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                still += 1
            except OSError:
                pass
        return still
    with contextlib.suppress(Failed):
        wait_until(lambda: left() <= MOST_CONNECTIONS, "", 20)
    still = left()
    for connection in held:
        connection.close()
    return still


def connection_flood(target, count, threads=4):
    """Connects as fast as it can, and resets each connection some hundred later."""
    def work(number):
        held = collections.deque()
        for turn in range(number, count, threads):
            with contextlib.suppress(OSError):
                connection = target.connect()
                if turn % 3 == 0:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: x")
                held.append(connection)
            if len(held) > 300:
                reset(held.popleft())
        for connection in held:
            connection.close()
    in_threads(threads, work)


def stranger_flood(target, count, threads=4):
    """Requests without access, some pipelined, some with the head of a body. Returns the numbers of
    answers by status."""
    statuses, lock = collections.Counter(), threading.Lock()

    def work(number):
        plain = target.request("GET", "/v2/catalog", access=False)
        body = target.request("PUT", "/v2/service_instances/x", b"x" * 100_000, access=False)[:2000]
        own, connection, sent = collections.Counter(), None, 0
        for turn in range(number, count, threads):
            try:
                connection = connection or target.connect()
                text = body if turn % 20 == 0 else plain * 20 if turn % 20 == 1 else plain
                connection.sendall(text)
                answer, _ = read_answer(connection)
                own[answer.status] += 1
                sent += 1
                if answer.header("Connection") == "close":
                    connection.close()
                    connection = None
            except (OSError, Failed):
                own["closed"] += 1
                connection.close()
                connection = None
        if connection:
            connection.close()
        with lock:
            statuses.update(own)
    in_threads(threads, work)
    return statuses


def large_bodies(target, count, threads=4):
    """Invalid bodies of a megabyte, from a known client. Returns the numbers of answers by status."""
    mega = 1_000_000
    bodies = [b"[" * mega, b'{"a":' * (mega // 5), b'{"service_id":"' + b"x" * (mega - 20) + b'"}',
              b'{"parameters":{"cells":[' + b"1," * (mega // 2 - 20) + b"1]}}",
              b'{"a":0.' + b"0" * (mega - 20) + b"1}",
              b"{" + b",".join(b'"k%d":1' % n for n in range(mega // 12)) + b"}", b" " * mega]
    statuses, lock = collections.Counter(), threading.Lock()

    def work(number):
        for turn in range(number, count, threads):
            with contextlib.closing(target.connect()) as connection:
                body = bodies[turn % len(bodies)]
                connection.sendall(target.request(
                    "PUT", f"/v2/service_instances/large{turn}?accepts_incomplete=true", body))
                answer, _ = read_answer(connection)
            with lock:
                statuses[answer.status] += 1
    in_threads(threads, work)
    return statuses


def deaf_readers(target, count):
    """Known clients that ask for the catalog a thousand times and read nothing."""
    held = []
    for _ in range(count):
        connection = target.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.send(target.request("GET", "/v2/catalog"))
        held.append(connection)
    return held


PROVISION = (f'{{"service_id":"{SERVICE}","plan_id":"{PLAN}","organization_guid":"o","space_guid":"s",'
             f'"parameters":{{"node-count":1}}}}').encode()


def at_once(target, count, request):
    """Sends request(n) on that many connections at the same time; returns the answers, each with its
    seconds."""
    answers = []

    def ask(number):
        with contextlib.closing(target.connect()) as connection:
            start = time.monotonic()
            connection.sendall(request(number))
            answer, _ = read_answer(connection)
            answer.seconds = time.monotonic() - start
            answers.append(answer)
    in_threads(count, ask)
    return answers
