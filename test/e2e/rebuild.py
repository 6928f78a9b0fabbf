"""An instance gets a new cluster beside its old one, while an application writes."""

import time

from checks import equal, exactly_as_asked, rows_of, scenario, true
from databases import Writer
from waiting import PATIENCE, wait_until

SYNCHRONOUS = "9c0f3d1b-5d0e-4a8e-8a43-6f5f4f0f6b1c"  # conf/dev.yml's cluster-sync


def phoenix(platform):
    """The instance that these scenarios rebuild, each also by itself."""
    if not platform.record("phoenix"):
        platform.create("phoenix", nodes=2)


def wait_for_phase(platform, instance, phase):
    """Looks without a pause: the old nodes stop within a second."""
    deadline = time.monotonic() + PATIENCE
    while platform.admin(instance).get("rebuild", {}).get("phase") != phase:
        true(time.monotonic() < deadline, f"the rebuild never had the phase {phase}")


def must_have_lost_nothing(writer):
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing: {missing[:5]}")
    print(f"       {len(writer.acknowledged)} rows, longest gap {writer.longest_gap():.2f} s")


def nothing_is_left(platform, instance, scope, nodes):
    wait_until(lambda: not nodes & platform.running_nodes().keys(), f"the end of the nodes of {scope}")
    wait_until(lambda: not {"outgoing", "incoming"} & platform.admin(instance).keys(), f"{scope} is forgotten")
    own = {f"/service/{scope}/state"}
    left = {key for key in platform.keys(f"/service/{scope}/") if "/bindings/" not in key} - own
    true(not left, f"keys of {scope} are left: {sorted(left)}")
    true(f"scope-{scope}" not in platform.etcd_users(), f"{scope} still has a user of etcd")


@scenario("a rebuild switches to fresh nodes: no acknowledged row is lost, and bindings stay as they are")
def rebuild_while_writing(platform):
    phoenix(platform)
    before = set(platform.nodes_of("phoenix"))
    scope = platform.admin("phoenix")["scope"]
    uri = platform.bind("phoenix", "app")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        ended = platform.wait_rebuild("phoenix", platform.rebuild("phoenix"))
        equal(ended["state"], "succeeded", f"the rebuild ({ended['description']})")
        writer.wait_for_writes(50)
    must_have_lost_nothing(writer)
    true(platform.admin("phoenix")["scope"] != scope, "it still has its old scope")
    true(not before & platform.nodes_of("phoenix").keys(), "an old node serves")
    nothing_is_left(platform, "phoenix", scope, before)
    equal(rows_of(uri, "select 1"), [(1,)], "the old binding's answer")
    exactly_as_asked(platform, "phoenix", 2)


@scenario("a broker that is killed while a rebuild stops the old nodes comes back and brings it to an end")
def broker_killed_at_the_switch(platform):
    phoenix(platform)
    scope, nodes = platform.admin("phoenix")["scope"], set(platform.nodes_of("phoenix"))
    with Writer(platform.bind("phoenix", "killed")["uri"], "written_then") as writer:
        writer.wait_for_writes(20)
        rebuild = platform.rebuild("phoenix")
        wait_for_phase(platform, "phoenix", "halting")
        platform.restart_broker(kill9=True)
        ended = platform.wait_rebuild("phoenix", rebuild)
        writer.wait_for_writes(50)
    must_have_lost_nothing(writer)
    print(f"       the rebuild {ended['state']} {ended['description']}")
    if ended["state"] == "succeeded":
        nothing_is_left(platform, "phoenix", scope, nodes)
    else:
        equal(set(platform.nodes_of("phoenix")), nodes, "the nodes of a rebuild that was taken back")
    wait_until(lambda: not {"outgoing", "incoming"} & platform.admin("phoenix").keys(), "one cluster is left")
    exactly_as_asked(platform, "phoenix", 2)


@scenario("a node that does not stop in time has the rebuild taken back: the old nodes serve on")
def taken_back(platform):
    phoenix(platform)
    admin = platform.admin("phoenix")
    nodes = set(platform.nodes_of("phoenix"))
    [replica] = nodes - {platform.leader("phoenix")}
    with Writer(platform.bind("phoenix", "back")["uri"], "written_back") as writer:
        writer.wait_for_writes(20)
        rebuild = platform.rebuild("phoenix")
        wait_for_phase(platform, "phoenix", "halting")
        with platform.frozen(replica):
            ended = platform.wait_rebuild("phoenix", rebuild)
        equal(ended["state"], "failed", f"the rebuild ({ended['description']})")
        true(replica in ended["description"], f"it does not name {replica}: {ended['description']}")
        writer.wait_for_writes(50)
    must_have_lost_nothing(writer)
    equal(platform.admin("phoenix")["scope"], admin["scope"], "the scope")
    equal(set(platform.nodes_of("phoenix")), nodes, "the nodes")
    exactly_as_asked(platform, "phoenix", 2)
    wait_until(lambda: "incoming" not in platform.admin("phoenix"), "the new cluster is removed")
    leader = platform.leader("phoenix")
    wait_until(lambda: platform.ask_node(leader, "select slot_name from pg_replication_slots"
                                         " where slot_name = 'matriarch_follower'") == [],
               "the leader keeps nothing for a follower any more")


@scenario("a synchronous instance is rebuilt, and is synchronous again")
def synchronous(platform):
    platform.create("steel", nodes=2, plan=SYNCHRONOUS)
    with Writer(platform.bind("steel", "app")["uri"]) as writer:
        writer.wait_for_writes(20)
        ended = platform.wait_rebuild("steel", platform.rebuild("steel"))
        equal(ended["state"], "succeeded", f"the rebuild ({ended['description']})")
        writer.wait_for_writes(50)
    must_have_lost_nothing(writer)
    leader = platform.leader("steel")
    wait_until(lambda: [row for row in platform.ask_node(leader, "select sync_state from pg_stat_replication")
                        if row[0] in ("sync", "quorum")], "a synchronous replica")
    platform.unbind("steel", "app")
    platform.remove("steel")


def finish(platform):
    if platform.record("phoenix"):
        platform.remove("phoenix")  # its bindings go with it
