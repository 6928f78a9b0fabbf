"""A cell that does what a test says, so that an operation stops where the test wants it.

It speaks a cell's HTTP, and writes Patroni's keys itself when it lets a node appear. There is no
PostgreSQL behind it.
"""

import threading
import time

from simulated_cell import Cell, Handler, Server


class Etcd:
    """The platform's own access to etcd, with users if there are any."""

    def __init__(self, platform):
        self.platform = platform

    def call(self, path, body):
        return self.platform.etcd_call(path, body)


class Arguments:
    """The arguments that simulated_cell.py reads from its command line."""

    def __init__(self, guid, zone, host):
        self.guid, self.zone, self.etcd, self.listen = guid, zone, "", host + ":8901"


class HeldCell(Cell):
    """Starts and stops nodes at once, except where a test has set otherwise for a scope."""

    def __init__(self, guid, zone, host, platform):
        super().__init__(Arguments(guid, zone, host))
        self.etcd, self.zone = Etcd(platform), zone
        self.uri = f"http://{host}:8901"
        self.hides = set()  # scopes whose nodes start and do not appear
        self.refuses_start = set()  # scopes whose PUT is answered with 500
        self.answers_late = {}  # scope -> seconds: nodes start, and the answer to their PUT comes that late
        self.refuses_stop = set()  # scopes whose DELETE is answered with 500
        self.hidden = []  # (node, scope) of nodes that have not appeared
        own = type("Own", (Answering,), {"cell": self, "wbufsize": -1, "disable_nagle_algorithm": True})
        self.server = Server((host, 8901), own)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def start(self, node, scope, may_lead=True):
        if scope in self.refuses_start:
            return 500
        if scope in self.answers_late:
            status = super().start(node, scope, may_lead)
            time.sleep(self.answers_late[scope])  # this is the lateness itself
            return status
        if scope not in self.hides:
            return super().start(node, scope, may_lead)
        with self.lock:
            known = node in self.nodes
            self.nodes[node] = scope
            if not known:
                self.hidden.append((node, scope))
        return 200 if known else 201

    def stop(self, node):
        if self.nodes.get(node) in self.refuses_stop:
            return 500
        self.hidden = [entry for entry in self.hidden if entry[0] != node]
        return super().stop(node)

    def obey(self):
        """From now on everything starts, appears and stops at once."""
        self.refuses_start.clear()
        self.answers_late.clear()
        self.refuses_stop.clear()
        self.hides.clear()
        hidden, self.hidden = self.hidden, []
        for node, scope in hidden:
            with self.lock:
                self.nodes.pop(node, None)
            super().start(node, scope)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Answering(Handler):
    def answer(self, status, body):
        if status >= 500:
            body = {"description": "this cell was told to refuse"}
        super().answer(status, body)
