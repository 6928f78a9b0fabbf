#!/usr/bin/python3
"""A cell whose nodes appear at once: it speaks a cell's HTTP and writes Patroni's keys itself.

With such cells, the time of a provision is the broker's own share. With --failures the cell fails that
share of its orders, each time in another way; the seed makes this repeatable for one order of requests.
"""

import argparse
import base64
import http.client
import http.server
import collections
import json
import random
import signal
import sys
import threading
import time
import urllib.parse

# The ways in which an order can fail, with their weights.
MISFORTUNES = {
    "refused": 30,           # 500, not done
    "done and refused": 15,  # done, then 500
    "done and cut": 15,      # done, and the connection ends without an answer
    "slow": 20,              # done and answered after up to three seconds
    "hanging": 10,           # neither done nor answered
    "done and hanging": 5,   # done, and never answered
    "late": 5,               # done when the broker has given up waiting
}
# The broker waits 15 s for a start, and allows 5 s more for one that is still on its way.
LATE = 16.5
# Longer than any client waits, in seconds.
HANGING = 60


# Further keys of Patroni, as long as it runs.
BESIDE = {
    "config": json.dumps({"ttl": 20, "loop_wait": 5, "retry_timeout": 5, "maximum_lag_on_failover": 1048576,
                          "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {
                              f"parameter_{number}": "of some length" for number in range(20)}}}),
    "status": json.dumps({"optime": 67108864, "slots": {"node": 67108864}}),
    "history": json.dumps([[1, 67108864, "no recovery target specified", "2026-01-01T00:00:00+00:00", "node"]]),
}


class Etcd:
    """A connection to etcd's JSON gateway for each thread."""

    def __init__(self, uri):
        self.address = urllib.parse.urlsplit(uri).netloc
        self.own = threading.local()

    def call(self, path, body):
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection(self.address, timeout=60)
        self.own.connection.request("POST", path, json.dumps(body))
        return json.loads(self.own.connection.getresponse().read())


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def put_of(key, value):
    return {"requestPut": {"key": encoded(key), "value": encoded(value)}}


class Cell:
    def __init__(self, arguments):
        self.guid, self.zone, self.etcd = arguments.guid, arguments.zone, Etcd(arguments.etcd)
        self.host = arguments.listen.split(":")[0]
        self.nodes = {}  # node id -> scope
        self.lock = threading.Lock()
        self.failures = getattr(arguments, "failures", 0)
        self.choice = random.Random(f"{getattr(arguments, 'seed', 0)} {self.guid}")
        self.happened = collections.Counter()

    def misfortune(self):
        """How the next order fails; None if it does not."""
        if not self.failures:
            return None
        with self.lock:
            if self.choice.random() >= self.failures:
                self.happened["well"] += 1
                return None
            what = self.choice.choices(list(MISFORTUNES), MISFORTUNES.values())[0]
            self.happened[what] += 1
            return what

    def start(self, node, scope, may_lead=True):
        with self.lock:
            known = node in self.nodes
            self.nodes[node] = scope
        if known and not may_lead:
            return 200
        leader = f"/service/{scope}/leader"
        member = {"conn_url": f"postgres://{self.host}:5432/postgres",
                  "api_url": f"http://{self.host}:8008/patroni", "state": "running", "timeline": 1}
        key = f"/service/{scope}/members/{node}"
        # The first node that may lead becomes the leader. No key has the revision -1, so others do not.
        self.etcd.call("/v3/kv/txn", {
            "compare": [{"target": "CREATE", "key": encoded(leader), "createRevision": "0" if may_lead else "-1"}],
            "success": [put_of(leader, node), put_of(f"/service/{scope}/initialize", "7000000000000000000"),
                        *(put_of(f"/service/{scope}/{name}", value) for name, value in BESIDE.items()),
                        put_of(key, json.dumps({**member, "role": "master"}))],
            # As later Patronis write their keys: there is no PostgreSQL here that the broker could
            # ask.
            "failure": [] if known else [put_of(key, json.dumps(
                {**member, "role": "replica", "replication_state": "streaming"}))]})
        return 200 if known else 201

    def stop(self, node):
        with self.lock:
            scope = self.nodes.pop(node, None)
        if scope is None:
            return 410
        leader = f"/service/{scope}/leader"
        erase = lambda key: {"requestDeleteRange": {"key": encoded(key)}}
        key = f"/service/{scope}/members/{node}"
        self.etcd.call("/v3/kv/txn", {
            "compare": [{"target": "VALUE", "key": encoded(leader), "value": encoded(node)}],
            "success": [erase(leader), erase(key)], "failure": [erase(key)]})
        return 200


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cell = None

    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        # A key, a certificate or plans to be judged: a cell of another make knows none of these.
        if "parameters" not in body:
            return self.answer(404, {"description": "there is no such page"})
        # The broker replaces a node that it takes for failed. A leader would have to hand over
        # first, and no PostgreSQL is here to say which replicas stream; real nodes are tested with
        # that.
        self.obey(lambda well: self.cell.start(self.node(), body["parameters"]["PATRONI_SCOPE"], may_lead=well))

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.obey(lambda _: self.cell.stop(self.node()))

    def obey(self, order):
        how = self.cell.misfortune()
        if how == "slow":
            time.sleep(self.cell.choice.uniform(0.1, 3))
        elif how == "late":
            time.sleep(LATE)
        well = how in (None, "slow")
        status = None if how in ("refused", "hanging") else order(well)
        if how in ("hanging", "done and hanging"):
            time.sleep(HANGING)
        if how in ("refused", "done and refused"):
            self.answer(500, {"description": "a simulated failure"})
        elif well:
            self.answer(status, {"host": self.cell.host, "port": 5432, "api_port": 8008})
        else:
            self.close_connection = True

    def do_GET(self):
        cell = self.cell
        if self.path == "/happened":
            self.answer(200, cell.happened)
            return
        if self.path == "/healthz":
            self.answer(200, {"status": "ok", "guid": cell.guid, "availability_zone": cell.zone,
                              "nodes": len(cell.nodes), "capacity": 10_000, "fencing": "none",
                              "etcd": "reachable"})
            return
        with cell.lock:
            nodes = [{"node_id": node, "scope": scope, "state": "running", "host": cell.host, "port": 5432,
                      "api_port": 8008}
                     for node, scope in cell.nodes.items()]
        self.answer(200, {"nodes": nodes})

    def node(self):
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path.rsplit("/", 1)[1])

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    for name in ("guid", "listen", "etcd", "zone"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--failures", type=float, default=0)
    parser.add_argument("--seed", default="0")
    arguments = parser.parse_args()
    Handler.cell = Cell(arguments)
    Handler.wbufsize = -1  # buffered, so that the whole answer is one segment
    Handler.disable_nagle_algorithm = True
    host, port = arguments.listen.split(":")
    server = Server((host, int(port)), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
