"""A cluster moves to other machines while an application writes."""

from checks import equal, exactly_as_asked, scenario, true
from local_platform import Writer, wait_until


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


@scenario("the leader's machine dies: a replica takes over, and the node comes back as a replica")
def machine_dies(platform):
    platform.create("survivor", nodes=2)
    uri = platform.bind("survivor", "app")["uri"]
    killed = platform.leader("survivor")
    cell = platform.nodes_of("survivor")[killed]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.kill_machine(cell)
        wait_until(lambda: platform.leader("survivor") not in (None, killed), 60, "another leader")
        writer.wait_for_writes(50)  # the public port follows the leader
    print(f"       longest gap {writer.longest_gap():.2f} s")
    platform.start_machine(cell)
    exactly_as_asked(platform, "survivor", 2)
    true(platform.leader("survivor") != killed, "the node came back as the leader")
    equal(platform.last_operation("survivor")[1]["state"], "succeeded", "a failover is no operation")
    platform.wait_cells_seen()
    platform.unbind("survivor", "app")
    platform.remove("survivor")


@scenario("the leader's node alone is killed: its cell starts it again")
def node_dies(platform):
    platform.create("survivor", nodes=2)
    uri = platform.bind("survivor", "app")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.kill_node(platform.leader("survivor"))
        writer.wait_for_writes(50)
        platform.wait_all_running("survivor", 2)
        writer.wait_for_writes(50)
    print(f"       longest gap {writer.longest_gap():.2f} s")
    exactly_as_asked(platform, "survivor", 2)
    platform.unbind("survivor", "app")
    platform.remove("survivor")
