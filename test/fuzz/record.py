#!/usr/bin/python3
"""Records what test/fuzz/corpus/ begins with, from the traffic of a real platform.

A platform is started whose broker reaches etcd and the cells, and is reached itself, through
listeners that note what passes. Some instances and bindings are then made, grown, moved and removed.
Each kind of text goes to its target, with the letter before it that names the codec. Of texts that
differ in numbers and identifiers only, one is kept. The passwords in them were random and belonged to
databases that are gone.
"""

import hashlib
import pathlib
import re
import select
import shutil
import socket
import sys
import threading
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "platform")]

from asking import http_json  # noqa: E402
from layout import CONFIGURATIONS, PLAN, SERVICE  # noqa: E402
from local_platform import Platform  # noqa: E402
from waiting import wait_until  # noqa: E402

CORPUS = HERE / "corpus"
LONGEST = 6_000  # a fuzzer is quick with short inputs
EACH = 12  # of a codec
OTHER_PLAN = "4d2a6b5e-7a53-4f0c-9a55-0f0f2f8a7f61"  # of conf/dev.yml, as the first


class Tap:
    """A listener that passes every connection on, and keeps both directions."""

    def __init__(self, host, target):
        self.target = target
        self.connections = []  # [bytes from the client, bytes from the server]
        self.listener = socket.create_server((host, 0))
        self.address = "%s:%d" % self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        host, port = self.target.split(":")
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            return client.close()
        seen = [b"", b""]
        self.connections.append(seen)
        with client, server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(65536)
                    except OSError:
                        data = b""
                    if not data:
                        return
                    seen[ready is server] += data
                    (client if ready is server else server).sendall(data)


def messages(stream):
    """(head, body) of each HTTP message that has a length; of a chunked one what the chunks hold."""
    while b"\r\n\r\n" in stream:
        head, stream = stream.split(b"\r\n\r\n", 1)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
            body = b""
            while match := re.match(rb"([0-9a-fA-F]+)\r\n", stream):
                size = int(match.group(1), 16)
                body += stream[match.end():match.end() + size]
                stream = stream[match.end() + size + 2:]
                if size == 0:
                    break
        else:
            size = int(length.group(1)) if length else 0
            body, stream = stream[:size], stream[size:]
        yield head, body


class Corpus:
    def __init__(self):
        shutil.rmtree(CORPUS, ignore_errors=True)
        self.shapes = {}

    def add(self, target, letter, text):
        text = text if isinstance(text, bytes) else text.encode()
        # What differs in identifiers and numbers only makes the fuzzer no wiser.
        shape = re.sub(rb"[0-9a-f]{8,}|[A-Za-z0-9+/=]{24,}|\d+", b"", text)
        known = self.shapes.setdefault((target, letter), set())
        if len(text) > LONGEST or shape in known or len(known) >= EACH:
            return
        known.add(shape)
        data = letter.encode() + text
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        CORPUS.joinpath(target, hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)


def add_keys(corpus, keys):
    for key, value in keys.items():
        for pattern, target, letter in [
                (r"/service/[^/]+/state", "records", "a"), (r"/service/[^/]+/bindings/.*", "records", "b"),
                (r"/matriarch/tombstones/.*", "records", "c"), (r"/routing/port/.*", "records", "d"),
                (r"/matriarch/active", "records", "e"), (r"/service/[^/]+/sync", "records", "f"),
                (r"/service/[^/]+/members/.*", "members", "a"), (r"/routing/allocation/.*", "members", "b"),
                (r"/service/[^/]+/state", "members", "c")]:
            if re.fullmatch(pattern, key):
                corpus.add(target, letter, value)


def use(platform, corpus, broker):
    """Every kind of request, and some that are refused."""
    def osb(method, path, body=None, headers=None):
        return http_json(method, f"http://{broker.address}{path}", body,
                         {"X-Broker-API-Version": "2.17", "X-Broker-API-Originating-Identity":
                          "cloudfoundry eyJ1c2VyX2lkIjoiNjgzZWE3NDgtMzA5Mi00ZmY0LWI2NTYtMzljYWNjNGQ1MzYwIn0=",
                          **(headers or {})}, platform.auth)
    ids = {"service_id": SERVICE, "plan_id": PLAN}
    asked = {**ids, "organization_guid": "org-1", "space_guid": "space-1",
             "context": {"platform": "cloudfoundry", "organization_name": "Ärger & Co"},
             "maintenance_info": None, "parameters": {"node-count": 2}}
    query = urllib.parse.urlencode({**ids, "accepts_incomplete": "true"})
    instance = "/v2/service_instances/one%2Ftwo"
    osb("GET", "/v2/catalog")
    for wrong in ({}, {**asked, "parameters": {"node-count": 99}}, {**asked, "parameters": {"colour": "red"}}):
        osb("PUT", "/v2/service_instances/wrong?accepts_incomplete=true", wrong)

    def wait():
        wait_until(lambda: osb("GET", f"{instance}/last_operation")[2].get("state") != "in progress",
                   "the operation")
        add_keys(corpus, platform.keys())
        for record in platform.directory.glob("*/nodes/*/node.json"):
            corpus.add("node", "b", record.read_text())
    osb("PUT", f"{instance}?accepts_incomplete=true", asked)
    add_keys(corpus, platform.keys())
    wait()
    for name, parameters in (("b1", {}), ("b2", {"read-only": True})):
        osb("PUT", f"{instance}/service_bindings/{name}?accepts_incomplete=true", {
            **ids, "bind_resource": {"app_guid": "app-1"}, "parameters": parameters})
        osb("GET", f"{instance}/service_bindings/{name}")
    add_keys(corpus, platform.keys())
    for change in ({"parameters": {"node-count": 3}},
                   {"parameters": {"cells": [platform.guids[1], platform.guids[2], platform.guids[3]]}},
                   {"plan_id": OTHER_PLAN}, {"context": {"platform": "cloudfoundry"}}):
        osb("PATCH", f"{instance}?accepts_incomplete=true", {
            "service_id": SERVICE, "previous_values": {"plan_id": PLAN}, **change})
        wait()
    osb("GET", instance)
    osb("DELETE", f"{instance}/service_bindings/b1?{query}")
    osb("DELETE", f"{instance}/service_bindings/b2?{query}")
    known = osb("GET", "/admin/service_instances")[2][0]
    osb("DELETE", f"{instance}?" + urllib.parse.urlencode({
        "service_id": SERVICE, "plan_id": known["plan_id"], "accepts_incomplete": "true"}))
    wait()


def add_requests(corpus, broker):
    for sent, _ in broker.connections:
        for head, body in messages(sent):
            text = head.decode("latin-1")
            # Codecs of the first target have no letters.
            corpus.add("request_head", text[0], text[1:])
            for header, letter in (("x-broker-api-originating-identity", "c"), ("authorization", "d")):
                if found := re.search(rf"(?im)^{header}: (.*)\r?$", text):
                    corpus.add("encodings", letter, found.group(1).strip())
            target = text.split(" ")[1]
            corpus.add("encodings", "a", target)
            corpus.add("encodings", "e", target)
            method = text.split(" ")[0]
            for strict in (0, 6):
                letter = lambda codec: chr(ord("a") + codec + strict)
                if method == "DELETE":
                    corpus.add("osb", letter(4 if "service_bindings" in target else 3), target.partition("?")[2])
                elif body:
                    corpus.add("osb", letter(1 if method == "PATCH" else 2 if "service_bindings" in target else 0),
                               body)


def add_etcd(corpus, etcd):
    for sent, received in etcd.connections:
        for (head, body), (answered, answer) in zip(messages(sent), messages(received)):
            path = head.split(b" ")[1]
            if b" 200 " not in answered.split(b"\r\n")[0]:
                corpus.add("etcd", "f", answer)
            elif path == b"/v3/kv/txn":
                corpus.add("etcd", "a", answer)
                corpus.add("etcd", "b", answer)
            elif path == b"/v3/kv/range":
                corpus.add("etcd", "c", answer)
            elif path.startswith(b"/v3/lease"):
                corpus.add("etcd", "d", answer)
            elif path == b"/v3/watch":
                lines = answer.split(b"\n")
                for first in range(0, len(lines), 8):
                    corpus.add("etcd", "e", b"\n".join(lines[first:first + 8]))
            for text in re.findall(rb'"(?:key|value)":"([^"]+)"', answer)[:3]:
                corpus.add("encodings", "b", text)


def main():
    corpus = Corpus()
    taps = {}

    def edit(kind, configuration):
        if kind == "broker":
            etcd = configuration["etcd"]["machines"][0].removeprefix("http://")
            taps["etcd"] = Tap("127.0.0.1", etcd)
            configuration["etcd"]["machines"] = ["http://" + taps["etcd"].address]
            for cell in configuration["cells"]:
                tap = taps[cell["guid"]] = Tap("127.0.0.1", cell["uri"].removeprefix("http://"))
                cell["uri"] = "http://" + tap.address

    with Platform(edit=edit, say=print) as platform:
        broker = Tap("127.0.0.1", platform.broker_uri.removeprefix("http://"))
        use(platform, corpus, broker)
        add_requests(corpus, broker)
        add_etcd(corpus, taps["etcd"])
        for guid in platform.guids:
            for sent, _ in taps[guid].connections:
                for head, body in messages(sent):
                    if head.startswith(b"PUT"):
                        corpus.add("node", "a", body)
        for letter, names in (("a", ["broker", "dev", "production"]), ("b", ["cell", "cell-z1-1"]), ("c", ["router"])):
            for name in names:
                for path in (CONFIGURATIONS / f"{name}.yml", platform.directory / f"{name}.yml"):
                    if path.exists():
                        text = "\n".join(line for line in path.read_text().splitlines()
                                         if line.strip() and not line.strip().startswith("#"))
                        corpus.add("configuration", letter, re.sub(r"/tmp/matriarch-\w+", "/var/lib/matriarch", text))
    for target in sorted(path.name for path in CORPUS.iterdir()):
        files = list(CORPUS.joinpath(target).iterdir())
        print(f"{target}: {len(files)} texts, {sum(file.stat().st_size for file in files)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
