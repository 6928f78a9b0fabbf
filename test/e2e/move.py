"""A cluster moves to other machines while an application writes."""

from checks import equal, exactly_as_asked, scenario, true
from local_platform import Writer


@scenario("a move leaves the old cells, lands on the named ones and loses no acknowledged write")
def move(platform):
    platform.create("mover", nodes=2)
    before = platform.nodes_of("mover")
    cells = [guid for guid in platform.guids if guid not in before.values()]
    uri = platform.bind("mover", "app")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.update("mover", cells=cells)
        platform.wait_operation("mover").must_succeed()
        writer.wait_for_writes(50)
    exactly_as_asked(platform, "mover", 2, cells)
    left = before.keys() & platform.running_nodes().keys()
    true(not left, f"old nodes still run: {left}")
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing: {missing[:5]}")
    print(f"       {len(writer.acknowledged)} rows, longest gap {writer.longest_gap():.2f} s")
    platform.unbind("mover", "app")
    platform.remove("mover")


@scenario("the leader's node is killed: a replica takes over, and the node comes back")
def leader_killed(platform):
    platform.create("survivor", nodes=2)
    uri = platform.bind("survivor", "app")["uri"]
    killed = platform.leader("survivor")
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.kill_node(killed)
        # Only its successor's writes count as success: the port must follow.
        platform.wait_operation("survivor", until=lambda _: platform.leader("survivor") not in (None, killed))
        writer.wait_for_writes(50)
    print(f"       longest gap {writer.longest_gap():.2f} s")
    exactly_as_asked(platform, "survivor", 2)
    equal(platform.last_operation("survivor")[1]["state"], "succeeded", "a failover is no operation")
    platform.unbind("survivor", "app")
    platform.remove("survivor")
