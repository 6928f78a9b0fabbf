#!/usr/bin/python3
"""`make crowd`: 1,000 provisions at once on 20 simulated cells that treat a tenth of their orders badly.

    crowd.py --count 1000 --cells 20 --failures 0.1

A cell refuses, hangs, does as it is told without saying so, or does it when nobody waits any more. All
operations have to end, each as its answer says: two nodes for what succeeded, none for what failed, no
node that nobody wants, no port twice. Then all are removed at once, from the same cells.
"""

import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

from checks import equal, scenario, true  # noqa: E402
from layout import PLAN, SERVICE  # noqa: E402
from local_platform import Platform  # noqa: E402
from patient import Patient  # noqa: E402
from waiting import Failed  # noqa: E402

CELLS, FAILURES = 20, 0.1
PLATFORM = {"simulated": True, "cells": CELLS, "failures": FAILURES}
# The number of requests at a time: each is a thread and a connection.
AT_ONCE = 200
# The pause between two looks at the operations under way, in seconds.
PAUSE = 1
# A cell that hangs costs 15 s for each start and 40 s for each removal, several times in a row for
# some instances.
DEADLINE = 590
# MB, for the broker that `make crowd` runs; with sanitizers, as in `make test`, it takes more.
MOST_MEMORY = 150


def memory_mb(pid, what):
    """VmRSS (now) or VmHWM (at most) of a process, in MB."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", text).group(1)) / 1024


class Crowd:
    def __init__(self, platform, count, say=print):
        self.platform, self.count, self.say = platform, count, say
        self.names = [f"crowd-{number}" for number in range(count)]
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.rows = []

    def row(self, what, measured):
        self.rows.append((what, measured))
        self.say(f"  {what:<42} {measured}", flush=True)

    def each(self, action, names):
        """The results of an action for each of the instances, all at the same time."""
        return list(self.pool.map(action, names))

    def begin(self, name, method, body, params):
        patient = Patient(self.platform, name)
        status, answer = patient.ask(method, patient.path, body, {"accepts_incomplete": "true", **params})
        true(status == 202 or (method, status) in (("PUT", 200), ("DELETE", 410)),
             f"{method} of {name} was answered {status}: {answer}")

    def ends(self, names, what):
        """Polls until all have ended: name -> (state, description, seconds)."""
        begun, ended = time.monotonic(), {}
        def poll(name):
            status, answer = Patient(self.platform, name).ask(
                "GET", self.platform.instance_path(name) + "/last_operation")
            if status == 410:
                return "gone", ""
            equal(status, 200, f"last_operation of {name}: {answer}")
            return answer["state"], answer.get("description", "")
        while len(ended) < len(names):
            left = [name for name in names if name not in ended]
            for name, (state, description) in zip(left, self.each(poll, left)):
                if state != "in progress":
                    ended[name] = (state, description, time.monotonic() - begun)
            true(time.monotonic() - begun < DEADLINE,
                 f"after {DEADLINE} s {len(names) - len(ended)} {what} are still in progress")
            time.sleep(PAUSE)
        return ended

    def provision(self):
        start = time.monotonic()
        self.each(lambda name: self.begin(name, "PUT", {
            "service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": 2}}, {}), self.names)
        self.row("all provisions answered after", f"{time.monotonic() - start:.1f} s")
        self.ended = self.ends(self.names, "provisions")
        states = collections.Counter(state for state, _, _ in self.ended.values())
        times = [seconds for _, _, seconds in self.ended.values()]
        self.row("provisions succeeded, failed", f"{states['succeeded']}, {states['failed']}")
        self.row("ended after, half and all", f"{statistics.median(times):.0f} s, {max(times):.0f} s")
        for name, (state, why, _) in self.ended.items():
            true(state == "succeeded" or state == "failed" and why, f"{name} ended as {state}: {why!r}")

    def check(self):
        patient = Patient(self.platform, "crowd")
        wanted = {}
        def none_wrong():
            wanted.clear()
            values = self.platform.keys("/service/")
            for name in self.names:
                nodes = json.loads(values[f"/service/{name}/state"])["nodes"]
                equal(len(nodes), 2 if self.ended[name][0] == "succeeded" else 0, f"the nodes of {name}")
                wanted.update({node["node_id"]: node["backend_id"] for node in nodes})
            running = {node: guid for node, (guid, _) in self.platform.running_nodes().items()}
            extra = running.keys() - wanted.keys()
            true(running == wanted, f"{len(extra)} nodes that nobody wants, {len(wanted.keys() - running.keys())} "
                                    f"missing: {sorted(extra)[:3]}")
        # Nodes that were begun on a failing cell may take a time-out or two to be removed.
        patient.eventually(none_wrong, "the nodes are not those asked for")
        ports = list(self.platform.keys("/routing/allocation/").values())
        equal(len(set(ports)), len(ports), "ports that one instance alone has")
        self.row("nodes, ports held twice", f"{len(wanted)}, {len(ports) - len(set(ports))}")

    def deprovision(self):
        start, left = time.monotonic(), self.names
        while left:
            self.each(lambda name: self.begin(name, "DELETE", None, self.platform.ids_of(name)), left)
            ended = self.ends(left, "removals")
            # A removal that a cell did not confirm fails and says so; the platform asks again.
            left = [name for name, (state, _, _) in ended.items() if state != "gone"]
        self.row("all removed after", f"{time.monotonic() - start:.1f} s")
        Patient(self.platform, "crowd").eventually(
            lambda: equal(self.platform.running_nodes(), {}, "nodes left on the cells"), "something is left")

    def run(self):
        pid = self.platform.broker.pid
        try:
            self.provision()
            self.check()
            self.deprovision()
        finally:
            happened = collections.Counter()
            for guid in self.platform.guids:
                happened.update(self.platform.cell_request(guid, "GET", "/happened")[2])
            well = happened.pop("well", 0)
            self.row("orders to cells: well, badly", f"{well}, {sum(happened.values())} "
                     + str(dict(happened.most_common())).strip("{}").replace("'", ""))
            self.row("the broker's memory: at most, at the end",
                     f"{memory_mb(pid, 'VmHWM'):.0f} MB, {memory_mb(pid, 'VmRSS'):.0f} MB")
            self.pool.shutdown()


@scenario("a hundred provisions at once, on failing cells, all end as their answers say")
def hundred(platform):
    Crowd(platform, 100).run()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=CELLS)
    parser.add_argument("--failures", type=float, default=FAILURES)
    chosen = parser.parse_args()
    options = {**PLATFORM, "cells": chosen.cells, "failures": chosen.failures}
    print(f"{chosen.count} provisions at once on {chosen.cells} simulated cells, of whose orders "
          f"{chosen.failures:.0%} are treated badly:", flush=True)
    with Platform(**options, say=print) as platform:
        Crowd(platform, chosen.count).run()
        platform.wait_nothing_left()
        peak = memory_mb(platform.broker.pid, "VmHWM")
        true(peak < MOST_MEMORY, f"the broker took {peak:.0f} MB; {MOST_MEMORY} MB are enough for a thousand")
    print("\nAll of it held.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"crowd: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
