#!/usr/bin/python3
"""`make demo`: the life of one PostgreSQL cluster, told through the public API of a real platform.

Exit code 0 only if every step held.
"""

import contextlib
import subprocess
import sys
import time

from databases import Writer
from local_platform import Platform
from waiting import PATIENCE, Failed, wait_until

INSTANCE, BINDING, OTHER_BINDING = "demo", "app", "reports"


class StoryEnds(Exception):
    """A step did not hold: the following steps would make no sense."""


class Story:
    """Reports each step as it happens, and all of them as a table at the end."""

    def __init__(self):
        self.rows = []

    def say(self, text):
        print(f"    {text}", flush=True)

    @contextlib.contextmanager
    def step(self, title):
        """A step: it yields a list for the details that go into the table."""
        print(f"\n{len(self.rows) + 1}. {title}", flush=True)
        details, start, held = [], time.monotonic(), True
        try:
            yield details
        except (Failed, AssertionError, OSError, KeyError, subprocess.SubprocessError) as error:
            held = False
            details[:] = [str(error).split("\n")[0]]
            self.say(f"did not hold: {error}")
        self.rows.append((title, time.monotonic() - start, ", ".join(details), held))
        if not held:
            raise StoryEnds

    def table(self):
        width = max(len(row[0]) for row in self.rows)
        print(f"\n{'step':<{width}}  {'seconds':>7}  held  what was seen")
        for title, seconds, detail, held in self.rows:
            print(f"{title:<{width}}  {seconds:>7.1f}  {'yes' if held else 'NO':<4}  {detail}")
        sys.stdout.flush()


def psql(uri, statement):
    """Runs the real psql."""
    done = subprocess.run(["psql", uri, "--no-psqlrc", "-qAtc", statement], text=True,
                          capture_output=True, timeout=PATIENCE)
    if done.returncode != 0:
        raise Failed(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


def placed(platform):
    """`node 1f3a on cell-z1-1 (z1)` for each node, the leader first."""
    leader = platform.leader(INSTANCE)
    nodes = sorted(platform.nodes_of(INSTANCE).items(), key=lambda item: item[0] != leader)
    return ", ".join(f"{'leader' if node == leader else 'replica'} {node[:4]} on {cell}"
                     for node, cell in nodes)


def tell(platform, story):
    def heard(state, description):
        story.say(f"{state}: {description}")

    def finish():
        return platform.wait_operation(INSTANCE, heard=heard).must_succeed()

    with story.step("read the catalog") as details:
        catalog = platform.osb("GET", "/v2/catalog")[2]
        for service in catalog["services"]:
            for plan in service["plans"]:
                story.say(f"{service['name']} / {plan['name']}: {plan['description']}")
        details.append(f"{len(catalog['services'])} service")

    with story.step("create a cluster of two nodes") as details:
        platform.provision(INSTANCE, nodes=2)
        finish()
        story.say(placed(platform))
        zones = {platform.zones[cell] for cell in platform.nodes_of(INSTANCE).values()}
        assert len(zones) == 2, f"both nodes are in {zones}"
        details.append("in two availability zones")

    with story.step("bind two applications") as details:
        credentials = platform.bind(INSTANCE, BINDING)
        other = platform.bind(INSTANCE, OTHER_BINDING)
        uri = credentials["uri"]
        port = platform.public_port(INSTANCE)
        for name, given in ((BINDING, credentials), (OTHER_BINDING, other)):
            story.say(f"{name}: public port {port}, user {given['username']}")
        assert credentials["username"] != other["username"], "both have one user"
        details.append(f"public port {port}, a user for each")

    with story.step("use it with psql through the public port") as details:
        psql(uri, "create table greeting (words text)")
        psql(uri, "insert into greeting values ('hello from the leader')")
        story.say(psql(uri, "select words from greeting"))
        version = psql(uri, "show server_version").split()[0]
        assert psql(uri, "select pg_is_in_recovery()") == "f", "the public port leads to a replica"
        details.append(f"PostgreSQL {version}")

    with story.step("let the other alter the table, and unbind it") as details:
        psql(other["uri"], "alter table greeting add column said_by text")
        psql(other["uri"], "insert into greeting values ('hello too', 'the other')")
        platform.unbind(INSTANCE, OTHER_BINDING)
        try:
            psql(other["uri"], "select 1")
            raise Failed("its password is still accepted")
        except Failed as refused:
            assert "authentication failed" in str(refused), str(refused)
            story.say(str(refused).split("\n")[0])
        story.say(psql(uri, "select words, said_by from greeting order by words desc limit 1"))
        details.append("its password is refused, what it wrote stays")

    with story.step("grow to three nodes") as details:
        platform.update(INSTANCE, node_count=3)
        finish()
        story.say(placed(platform))
        assert len(platform.running_nodes()) == 3, "not three nodes on the cells"
        details.append("three nodes")

    with story.step("move to other cells while a writer writes") as details:
        before = platform.nodes_of(INSTANCE)
        free = [guid for guid in platform.guids if guid not in before.values()]
        # Three nodes, four cells: to the free cell, and to two of those in use, without the
        # leader's.
        leader_cell = before[platform.leader(INSTANCE)]
        cells = free + [guid for guid in before.values() if guid != leader_cell]
        story.say(f"from {', '.join(sorted(before.values()))} to {', '.join(sorted(cells))}")
        with Writer(uri) as writer:
            platform.update(INSTANCE, cells=cells)
            finish()
            writer.wait_for_writes(50)
        story.say(placed(platform))
        missing = writer.missing()
        gap = writer.longest_gap()
        story.say(f"{len(writer.acknowledged)} rows acknowledged, {len(missing)} of them missing; "
                  f"longest gap between two writes {gap:.2f} s")
        assert sorted(platform.nodes_of(INSTANCE).values()) == sorted(cells), "not on the named cells"
        assert not missing, f"acknowledged rows are missing: {missing[:5]}"
        details.append(f"longest gap {gap:.2f} s, {len(writer.acknowledged)} rows, none missing")

    with story.step("kill the leader's node (-9)") as details:
        killed = platform.leader(INSTANCE)
        cell = platform.nodes_of(INSTANCE)[killed]
        with Writer(uri, "written_through_failover") as writer:
            writer.wait_for_writes(50)
            at = time.monotonic()
            # With its agent, which would restart the leader faster than a replica may take over.
            platform.kill_machine(cell)
            story.say(f"killed leader {killed[:4]} on {cell}, and the cell's agent")
            leader = wait_until(lambda: platform.leader(INSTANCE) not in (None, killed)
                                and platform.leader(INSTANCE), "another node to lead")
            writer.wait_for_writes(50)
            gap = writer.longest_gap(since=at)
            story.say(f"{leader[:4]} leads; longest gap between two writes {gap:.2f} s")
            platform.start_machine(cell)
            platform.wait_all_running(INSTANCE, 3)
        platform.wait_cells_seen()
        lost = len(writer.missing())
        story.say(placed(platform))
        story.say(f"{len(writer.acknowledged)} rows acknowledged, {lost} of them lost")
        details.append(f"longest gap {gap:.2f} s, {lost} rows lost, all three run again")

    with story.step("shrink to two nodes") as details:
        leader = platform.leader(INSTANCE)
        platform.update(INSTANCE, node_count=2)
        finish()
        story.say(placed(platform))
        assert platform.leader(INSTANCE) == leader, "the leader was removed"
        assert len(platform.running_nodes()) == 2, "not two nodes on the cells"
        details.append("the leader stayed")

    with story.step("rebuild it on fresh nodes while a writer writes") as details:
        before = platform.nodes_of(INSTANCE)
        with Writer(uri, "written_through_rebuild") as writer:
            writer.wait_for_writes(50)
            task = platform.wait_rebuild(INSTANCE, platform.rebuild(INSTANCE))
            story.say(f"{task['state']} {task['description']}".strip())
            writer.wait_for_writes(50)
        missing, gap = writer.missing(), writer.longest_gap()
        story.say(placed(platform))
        story.say(f"{len(writer.acknowledged)} rows acknowledged, {len(missing)} of them missing; "
                  f"longest gap between two writes {gap:.2f} s")
        assert task["state"] == "succeeded", f"the rebuild {task}"
        assert not before.keys() & platform.nodes_of(INSTANCE).keys(), "an old node is still there"
        assert not missing, f"acknowledged rows are missing: {missing[:5]}"
        psql(uri, "select 1")
        details.append(f"longest gap {gap:.2f} s, {len(writer.acknowledged)} rows, none missing")

    with story.step("unbind") as details:
        platform.unbind(INSTANCE, BINDING)

    with story.step("remove the cluster") as details:
        platform.deprovision(INSTANCE)
        finish()
        details.append("last_operation answers 410")

    with story.step("look for what is left") as details:
        platform.wait_nothing_left()
        story.say("no process, no key, no held port, no file")
        details.append("no process, key, held port or file")


def main():
    story = Story()
    print("Starting etcd, four cells in two availability zones, the router and the broker …", flush=True)
    start = time.monotonic()
    with Platform(say=print) as platform:
        print(f"The platform runs after {time.monotonic() - start:.1f} s: {platform.broker_uri}, "
              f"files in {platform.directory}")
        try:
            tell(platform, story)
        except StoryEnds:
            platform.failed = True
    story.table()
    held = all(row[3] for row in story.rows) and not platform.failed
    print("\nAll of it held." if held else "\nNot all of it held.")
    return 0 if held else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
