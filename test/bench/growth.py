"""What grows with the fleet: the rate of provisions, and what it takes to read everything again.

The cells are simulated, and write what Patroni writes. How many instances there shall be is up to who
asks: a rate is that of the last provisions before each of the sizes.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import subprocess
import threading
import time
import typing
import urllib.parse

from layout import PLAN, SERVICE
from local_platform import Platform
from waiting import Failed, wait_until

# What the port registry has to have room for, beside what other programs need.
PORTS = {"first": 3000, "last": 65_000}
CELLS = 20
# How many provisions are on their way at a time.
AT_ONCE = 64
# Of how many provisions a rate is.
COUNTED = 1_000
# etcd keeps every revision until somebody compacts it.
QUOTA = 8 * 1024 ** 3
# For how long a broker has to do next to nothing to be at rest.
REST_S = 3
# Keys in a page, as the broker asks for them.
PAGE = 2_000


def fleet():
    """Its plan has no roles: a simulated leader has none, and a broker that asks it for them in vain, again and
    again, would be measured with the provisions. Real leaders are asked once."""
    def edit(kind, configuration):
        if kind == "broker":
            configuration["routing"].update(PORTS)
            for service in configuration["catalog"]["services"]:
                for plan in service["plans"]:
                    plan.setdefault("provision", {})["credentials"] = "shared"
                    plan.pop("binding_rotatable", None)
    return Platform(simulated=True, cells=CELLS, etcd_quota=QUOTA, edit=edit)


class Provisions(typing.NamedTuple):
    """What some provisions took."""
    rate: float       # a second
    broker_ms: float  # of a processor, each
    etcd_ms: float


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_rest(pid):
    """A broker that has started has things to do for each instance."""
    def rests():
        before = processor_seconds(pid)
        time.sleep(REST_S)
        return processor_seconds(pid) - before < REST_S / 20
    wait_until(rests, "the broker to rest", 300)


class Etcd:
    """A connection to etcd's JSON gateway for each thread."""

    def __init__(self, uri):
        self.address, self.own = urllib.parse.urlsplit(uri).netloc, threading.local()

    def call(self, path, body):
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection(self.address, timeout=60)
        self.own.connection.request("POST", path, json.dumps(body))
        text = self.own.connection.getresponse().read()
        return json.loads(text), len(text)

    def range(self, first, last=None):
        return self.page(first, last, 0)[0]

    def page(self, first, last, limit):
        """At most `limit` keys with their values (0: all), and whether there are more."""
        found, _ = self.call("/v3/kv/range", {"key": base64.b64encode(first).decode(), "limit": limit, **(
            {"range_end": base64.b64encode(last).decode()} if last else {})})
        return [(base64.b64decode(one["key"]), base64.b64decode(one["value"]))
                for one in found.get("kvs", [])], found.get("more", False)

    def put(self, pairs):
        self.call("/v3/kv/txn", {"success": [{"requestPut": {
            "key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()}}
            for key, value in pairs]})


class Fleet:
    """Instances that are provisioned one after the other, many at a time."""

    def __init__(self, platform, poller, counted=COUNTED):
        self.platform, self.poller, self.counted = platform, poller, counted
        self.count = 0
        self.own = threading.local()
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)

    def ask(self, method, path, body=None):
        if not hasattr(self.own, "poller"):
            self.own.poller = self.poller(self.platform)
        return self.own.poller.ask(method, path, body)

    def grow(self, size):
        """Grows to that size, the last ones by provisions. Gives what these took."""
        if self.count == 0:
            self._provision(range(1))
            self.count = 1
        if size - self.counted > self.count:
            self._record(range(self.count, size - self.counted))
            self.count = size - self.counted
        broker, etcd = self.platform.broker.pid, self.platform.etcd.pid
        before, start = (processor_seconds(broker), processor_seconds(etcd)), time.monotonic()
        self._provision(range(self.count, size))
        took, count = time.monotonic() - start, size - self.count
        self.count = size
        return Provisions(count / took, (processor_seconds(broker) - before[0]) * 1000 / count,
                          (processor_seconds(etcd) - before[1]) * 1000 / count)

    def _record(self, numbers):
        """Writes what etcd would hold if these had been provisioned like the first one; the broker starts anew."""
        self.platform.broker.stop()
        etcd = Etcd(self.platform.etcd_uri)
        pattern = etcd.range(b"/service/grown-0/", b"/service/grown-00") + etcd.range(b"/routing/allocation/grown-0")
        port = pattern[-1][1].decode()
        pattern += etcd.range(f"/routing/port/{port}".encode())
        nodes = {key.rsplit(b"/", 1)[1] for key, _ in pattern if b"/members/" in key}
        batch, writes, next_port = [], [], int(port) + self.count
        for number in numbers:
            def own(text):
                for node in nodes:
                    text = text.replace(node, node[:-6] + b"%06d" % number)
                return text.replace(b"grown-0", b"grown-%d" % number)
            for key, value in pattern:
                if key.startswith(b"/routing/port/"):
                    key = b"/routing/port/%d" % next_port
                elif key.startswith(b"/routing/"):
                    value = b"%d" % next_port
                elif key.endswith(b"/state"):
                    value = value.replace(b'"allocated_port":%s' % port.encode(), b'"allocated_port":%d' % next_port)
                batch.append((own(key), own(value)))
                if len(batch) == 100:
                    writes.append(self.pool.submit(etcd.put, batch))
                    batch = []
            next_port += 1
        etcd.put([*batch, (b"/routing/nextport", b"%d" % next_port)])
        for one in writes:
            one.result()
        self._start_anew()
        wait_until(lambda: self.ask("GET", "/healthz")[1].get("instances_loaded"), "all instances", 600)
        wait_for_rest(self.platform.broker.pid)

    def give_roles(self):
        """Lets a broker that starts ask each leader for its roles, as it does with all that are not simulated."""
        self.platform.broker.stop()
        etcd, first, writes = Etcd(self.platform.etcd_uri), b"/service/", []
        while first:
            found, more = etcd.page(first, b"/service0", PAGE)
            records = [(key, value.replace(b'"credentials":"shared"', b'"credentials":"per-binding"'))
                       for key, value in found if key.endswith(b"/state")]
            writes += [self.pool.submit(etcd.put, records[at:at + 100]) for at in range(0, len(records), 100)]
            first = found[-1][0] + b"\0" if more else None
        for one in writes:
            one.result()
        self._start_anew()

    def _start_anew(self):
        """etcd as well: it keeps the buffer that held the most writes between two of its commits, and copies all
        of it for each read. What was written here at once made it larger than provisions ever do."""
        self.platform.etcd.stop()
        self.platform.etcd.start()
        self.platform.broker.start()
        self.platform.wait_broker_acts()
        self.own = threading.local()  # what was connected to the broker of before is not any more

    def _provision(self, numbers):
        def one(number):
            path = f"/v2/service_instances/grown-{number}"
            body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org",
                    "space_guid": "space", "parameters": {"node-count": 2}}
            status, answer = self.ask("PUT", path + "?accepts_incomplete=true", body)
            if status != 202:
                raise Failed(f"PUT {path} was answered {status}: {answer}")
            end = time.monotonic() + 120
            while (state := self.ask("GET", path + "/last_operation")[1]["state"]) == "in progress":
                if time.monotonic() > end:
                    raise Failed(f"{path} did not end in 120 s")
                time.sleep(0.05)  # leaves the processor to the broker
            if state != "succeeded":
                raise Failed(f"{path} ended as {state}")
        for _ in self.pool.map(one, numbers):
            pass


class Watch:
    """What a client and etcd see while a broker starts."""

    def __init__(self, platform, poller, count):
        self.platform, self.poller, self.count = platform, poller, count
        self.polls, self.refused, self.renewals, self.ended = [], 0, [], threading.Event()
        self.threads = [threading.Thread(target=self._poll), threading.Thread(target=self._count_renewals)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for one in self.threads:
            one.join()

    def _poll(self):
        poller = None
        while not self.ended.wait(0.002):
            start = time.monotonic()
            try:
                poller = poller or self.poller(self.platform)
                status, _ = poller.ask(
                    "GET", f"/v2/service_instances/grown-{random.randrange(self.count)}/last_operation")
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                poller = None  # it does not listen yet
                continue
            self.polls.append(time.monotonic() - start)
            self.refused += status != 200

    def _count_renewals(self):
        """etcd counts them for all leases; with simulated cells the active broker's is the only one."""
        connection, before = None, None
        while not self.ended.wait(0.02):
            connection = connection or http.client.HTTPConnection(
                urllib.parse.urlsplit(self.platform.etcd_uri).netloc, timeout=10)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            now = sum(float(line.split()[-1]) for line in text.splitlines()
                      if line.startswith(("etcd_debugging_lease_renewed_total", "etcd_debugging_lease_granted_total")))
            if before is not None and now > before:
                self.renewals.append(time.monotonic())
            before = now

    def longest_gap(self):
        pairs = zip(self.renewals, self.renewals[1:])
        return max((later - earlier for earlier, later in pairs), default=0)

    def slowest_of_hundred(self):
        """The 99th percentile, in seconds; 0 without a poll."""
        return sorted(self.polls)[int(len(self.polls) * 0.99)] if self.polls else 0


def seconds_to_load(platform, poller, patience=600):
    """From a broker's start until it has read all instances."""
    platform.broker.stop()
    start, own = time.monotonic(), None
    platform.broker.start()
    while time.monotonic() - start < patience:
        try:
            own = own or poller(platform)
            if own.ask("GET", "/healthz")[1].get("instances_loaded"):
                return time.monotonic() - start
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            own = None  # it does not listen yet
        time.sleep(0.01)
    raise Failed(f"the broker has not read all instances in {patience} s")


def seconds_to_read_by_curl(platform):
    """The same pages, by curl on one connection; (seconds, megabytes)."""
    bodies, first, revision, size = [], b"/cells/", "0", 0
    etcd = Etcd(platform.etcd_uri)
    while True:
        body = {"key": base64.b64encode(first).decode(), "limit": str(PAGE), "revision": revision,
                "range_end": base64.b64encode(b"/service0").decode()}
        bodies.append(json.dumps(body))
        answer, length = etcd.call("/v3/kv/range", body)
        size += length
        revision = revision if revision != "0" else answer["header"]["revision"]
        if not answer.get("more"):
            break
        first = base64.b64decode(answer["kvs"][-1]["key"]) + b"\0"
    bodies = [body.replace('"revision": "0"', f'"revision": "{revision}"') for body in bodies]
    lines = []
    for body in bodies:
        quoted = body.replace("\\", "\\\\").replace('"', '\\"')
        lines += [f'url = "{platform.etcd_uri}/v3/kv/range"', f'data = "{quoted}"', 'output = "/dev/null"', "next"]
    configuration = pathlib.Path(platform.directory) / "pages.curl"
    configuration.write_text("\n".join(lines[:-1]) + "\n")
    start = time.monotonic()
    subprocess.run(["curl", "--silent", "--fail", "--config", configuration], check=True, timeout=600)
    return time.monotonic() - start, size / 1024 / 1024
