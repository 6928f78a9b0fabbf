#!/usr/bin/python3
"""`make kills`: rounds of kill -9 of the broker in the middle of each workflow, on the real platform.

    kills.py --rounds 50 --seed 7     the same seed chooses the same moments

Each round begins a workflow (provision, grow, shrink, move, plan change, bind, unbind, deprovision, in
turn), kills the broker at a random moment, starts it again at once, asks again if there was no answer,
as a platform does, and waits for the end. Then what runs has to be what was asked for, with ports of
its own, and after a deprovision nothing may be left.
"""

import argparse
import collections
import json
import pathlib
import random
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "platform")]

from checks import connects, equal, exactly_as_asked, scenario, true  # noqa: E402
from layout import PLAN  # noqa: E402
from local_platform import Platform  # noqa: E402
from patient import CUT_OFF, Patient  # noqa: E402
from waiting import Failed  # noqa: E402

LARGE = "4d2a6b5e-7a53-4f0c-9a55-0f0f2f8a7f61"  # conf/dev.yml's, with max_connections 150 instead of 100
WORKFLOWS = ["provision", "grow", "shrink", "move", "plan change", "bind", "unbind", "deprovision"]
# The usual duration of each workflow, in seconds, until a round has measured it: the moments are
# chosen within it.
USUAL = {"provision": 5.0, "grow": 3.0, "shrink": 1.5, "move": 4.0, "plan change": 8.0, "bind": 0.1,
         "unbind": 0.1, "deprovision": 2.0}


class Rounds:
    """Many lives of an instance one after the other, with a kill during each change."""

    def __init__(self, platform, seed, say=print):
        self.platform, self.say = platform, say
        self.choice = random.Random(f"{seed} kills of the broker")
        self.life = 0
        self.patient = None
        self.took = collections.defaultdict(list)  # workflow -> seconds from its request to its end
        self.met = collections.defaultdict(collections.Counter)  # workflow -> where the kill fell

    def instance(self):
        return self.patient.instance

    def round(self, number):
        workflow = WORKFLOWS[number % len(WORKFLOWS)]
        if workflow == "provision":
            self.life += 1
            self.patient = Patient(self.platform, f"killed-{self.life}")
        request, check = getattr(self, workflow.replace(" ", "_"))()
        seconds = statistics.median(self.took[workflow]) if self.took[workflow] else USUAL[workflow]
        moment = self.choice.uniform(0, 1) * seconds
        ended, failure = [], []

        def ask():
            try:
                ended.append(request())
            except Exception as error:  # raised again below, in the thread that waits
                failure.append(error)
        asker = threading.Thread(target=ask, daemon=True)
        start = time.monotonic()
        asker.start()
        time.sleep(moment)  # waits for no condition: this is the random moment itself
        self.platform.broker.kill()
        self.platform.broker.running.wait()
        met = self.where_it_fell(workflow)
        self.platform.broker.start()
        asker.join()
        if failure:
            raise Failed(f"round {number + 1}, {workflow} killed after {moment:.2f} s: {failure[0]}") from failure[0]
        took = time.monotonic() - start
        # The time of a broker's restart is not part of the workflow's.
        self.took[workflow].append(min(took, USUAL[workflow] * 2))
        state = ended[0]
        try:
            true(state in ("succeeded", "gone"), f"it ended as {state}")
            self.patient.eventually(check, "it is not as asked")
            self.ports_are_unique()
        except Failed as error:
            raise Failed(f"round {number + 1}, {workflow} killed after {moment:.2f} s, {met}: {error}") from error
        self.met[workflow][met] += 1
        self.say(f"  {number + 1:3}  {workflow:<12} killed after {moment:5.2f} s, {met:<21}  "
                 f"{state} after {took:5.1f} s", flush=True)

    def where_it_fell(self, workflow):
        """The state in etcd when the broker died."""
        instance = self.instance()
        record = self.platform.record(instance)
        if workflow in ("bind", "unbind"):
            key = f"/service/{instance}/bindings/app"
            binding = self.platform.keys(key).get(key)
            if binding is not None and json.loads(binding)["phase"] != "ready":
                return "in its middle"
            return "at its end" if (binding is not None) == (workflow == "bind") else "before its acceptance"
        if record is None:
            return "before its acceptance" if workflow == "provision" else "at its end"
        operation = record["operation"]
        if operation["type"] != {"provision": "provision", "deprovision": "deprovision"}.get(workflow, "update"):
            return "before its acceptance"
        if operation["state"] == "in progress":
            return "in its middle"
        return "at its end" if operation["id"] != self.before else "before its acceptance"

    def begun(self):
        """An operation's id, which differs from the one before."""
        record = self.platform.record(self.instance())
        self.before = record["operation"]["id"] if record else None

    # --- each workflow: (the request, what holds afterwards)
    # ---------------------------------------

    def provision(self):
        self.nodes, self.before = 2, None
        return (lambda: self.patient.provision(PLAN, node_count=2)[0]), self.as_asked

    def update(self, nodes=None, cells=None, plan=None, check=None):
        self.begun()
        self.nodes = nodes or self.nodes
        wanted = {"node_count": self.nodes, "cells": cells or self.platform.guids}
        return (lambda: self.patient.update(plan, **wanted)[0]), check or (lambda: self.as_asked(cells))

    def grow(self):
        return self.update(nodes=3)

    def shrink(self):
        return self.update(nodes=2)

    def move(self):
        used = set(self.platform.nodes_of(self.instance()).values())
        return self.update(cells=[guid for guid in self.platform.guids if guid not in used])

    def plan_change(self):
        def changed():
            self.as_asked()
            equal(self.platform.record(self.instance())["plan_id"], LARGE, "the plan")
            for node in self.platform.nodes_of(self.instance()):
                equal(self.platform.ask_node(node, "show max_connections"), [("150",)], "max_connections")
        return self.update(plan=LARGE, check=changed)

    def bind(self):
        def asked():
            self.uri = self.patient.bind("app")["uri"]
            return "succeeded"

        def works():
            true(connects(self.uri), "its credentials do not open the database")
            equal(len(self.roles()), 1, "roles of the binding")
        self.begun()
        self.owners = {row[0] for row in self.platform.roles(self.instance())}
        return asked, works

    def unbind(self):
        def asked():
            self.patient.unbind("app")
            return "succeeded"

        def ended():
            true(not connects(self.uri), "its credentials still open the database")
            equal(self.roles(), [], "roles of the binding")
        self.begun()
        return asked, ended

    def roles(self):
        """The roles of bindings: neither the instance's own, nor the groups that stand for rights."""
        groups = tuple(f"{owner}_{what}" for owner in self.owners for what in ("readers", "revoked", "writers"))
        return [row[0] for row in self.platform.roles(self.instance())
                if row[0] not in self.owners and row[0] not in groups]

    def deprovision(self):
        self.begun()
        return (lambda: self.patient.deprovision()[0]), self.nothing_left

    # --- what holds ------------------------------------------------------------------------------

    def as_asked(self, cells=None):
        exactly_as_asked(self.platform, self.instance(), self.nodes, cells)

    def nothing_left(self):
        left = self.platform.leftovers()
        true(not left, f"left over: {left}")

    def ports_are_unique(self):
        ports = list(self.platform.keys("/routing/allocation/").values())
        equal(len(set(ports)), len(ports), "ports that one instance alone has")

    def finish(self):
        """Removes what the last life has left."""
        if self.patient is not None:
            self.patient.deprovision()
            self.patient.eventually(self.nothing_left, "something is left")

    def print_summary(self):
        falls = ["before its acceptance", "in its middle", "at its end"]
        self.say("\n" + "killed with -9".ljust(14) + "rounds".rjust(8) + "".join(fall.rjust(23) for fall in falls)
                 + "  median s to its end")
        for workflow in WORKFLOWS:
            if self.took[workflow]:
                self.say(workflow.ljust(14) + f"{len(self.took[workflow]):8}"
                         + "".join(f"{self.met[workflow][fall]:23}" for fall in falls)
                         + f"{statistics.median(self.took[workflow]):21.1f}")
        rounds = sum(len(took) for took in self.took.values())
        self.say(f"{rounds} rounds, {rounds - sum(sum(met.values()) for met in self.met.values())} violations",
                 flush=True)


def run(platform, rounds, seed):
    done = Rounds(platform, seed)
    try:
        for number in range(rounds):
            done.round(number)
        done.finish()
    finally:
        done.print_summary()


@scenario("a broker that is killed in the middle of any workflow leaves exactly what was asked for")
def each_workflow(platform):
    run(platform, len(WORKFLOWS), seed=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if chosen.seed is None else chosen.seed
    print(f"{chosen.rounds} rounds with seed {seed}: starting the platform …", flush=True)
    with Platform(say=print) as platform:
        run(platform, chosen.rounds, seed)
        platform.wait_nothing_left()
    print("\nAll of it held.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, *CUT_OFF) as error:
        sys.exit(f"kills: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
