#!/usr/bin/python3
"""A cell whose nodes appear at once: it speaks a cell's HTTP and writes Patroni's keys itself.

What remains of a provision's time with such cells is the orchestrator's own share.
"""

import argparse
import base64
import http.client
import http.server
import json
import signal
import sys
import threading
import urllib.parse


class Etcd:
    """A connection to etcd's JSON gateway for each thread."""

    def __init__(self, uri):
        self.address = urllib.parse.urlsplit(uri).netloc
        self.own = threading.local()

    def call(self, path, body):
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection(self.address, timeout=5)
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

    def start(self, node, scope):
        with self.lock:
            if node in self.nodes:
                return 200
            self.nodes[node] = scope
        leader = f"/service/{scope}/leader"
        member = {"conn_url": f"postgres://{self.host}:5432/postgres",
                  "api_url": f"http://{self.host}:8008/patroni", "state": "running", "timeline": 1}
        key = f"/service/{scope}/members/{node}"
        # Whoever comes first leads.
        self.etcd.call("/v3/kv/txn", {
            "compare": [{"target": "CREATE", "key": encoded(leader), "createRevision": "0"}],
            "success": [put_of(leader, node), put_of(f"/service/{scope}/initialize", "7000000000000000000"),
                        put_of(key, json.dumps({**member, "role": "master"}))],
            "failure": [put_of(key, json.dumps({**member, "role": "replica"}))]})
        return 201

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
        self.answer(self.cell.start(self.node(), body["parameters"]["PATRONI_SCOPE"]), {})

    def do_DELETE(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(self.cell.stop(self.node()), {})

    def do_GET(self):
        cell = self.cell
        if self.path == "/healthz":
            self.answer(200, {"status": "ok", "guid": cell.guid, "availability_zone": cell.zone,
                              "nodes": len(cell.nodes), "capacity": 10_000, "fencing": "none",
                              "etcd": "reachable"})
            return
        with cell.lock:
            nodes = [{"node_id": node, "scope": scope, "state": "running", "host": cell.host, "port": 5432}
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


def main():
    parser = argparse.ArgumentParser()
    for name in ("guid", "listen", "etcd", "zone"):
        parser.add_argument("--" + name, required=True)
    arguments = parser.parse_args()
    Handler.cell = Cell(arguments)
    Handler.wbufsize = -1  # buffered: the whole answer is one segment
    Handler.disable_nagle_algorithm = True
    host, port = arguments.listen.split(":")
    server = Server((host, int(port)), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
