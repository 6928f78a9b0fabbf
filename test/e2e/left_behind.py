"""Replicas that run but do not replicate: noticed, not counted, avoided by readers, and replaced."""

import copy
import http.client
import json
import ssl

import psycopg2

from checks import equal, exactly_as_asked, rows_of, scenario, true
from waiting import wait_until

REPAIR_AFTER = 20  # seconds; whatever has to be seen before the repair has to be seen within this time
LITTLE_WAL = "0d4c2f1e-6f0b-4f0e-9a3a-3c1d5a7be0d1"


def edit(kind, configuration):
    """Repairs soon, and a plan whose leader keeps so little WAL that a replica soon falls behind."""
    if kind != "broker":
        return
    configuration["repair"] = {"after": f"{REPAIR_AFTER}s"}
    plans = configuration["catalog"]["services"][0]["plans"]
    plan = copy.deepcopy(plans[0])
    plan.update(id=LITTLE_WAL, name="little-wal")
    plan["provision"]["parameters"].update(max_slot_wal_keep_size="32MB", wal_keep_size="16MB",
                                           min_wal_size="32MB", max_wal_size="32MB")
    plans.append(plan)


PLATFORM = {"edit": edit}


def node_health(platform, instance):
    """node -> its state as the operator sees it, for nodes that are not being removed."""
    return {node["node_id"]: node["health"] for node in platform.admin(instance)["nodes"]
            if node["phase"] == "started"}


def replica_of(platform, instance):
    leader = platform.leader(instance)
    return next(node for node in platform.nodes_of(instance) if node != leader)


def leave_behind(platform, instance):
    """The replica's password is refused for a while, until the leader has removed the WAL that it needs:
    it runs, its Patroni is healthy, and it will never get a row again."""
    leader, replica = platform.leader(instance), replica_of(platform, instance)
    replication = platform.node_configuration(leader)["postgresql"]["authentication"]["replication"]
    user, password = replication["username"], replication["password"]
    platform.ask_node(leader, f"alter role {user} password 'another'")
    platform.ask_node(leader, "select pg_terminate_backend(pid) from pg_stat_replication")

    def lost():
        platform.ask_node(leader, "select pg_logical_emit_message(false, 'x', repeat('x', 20000000))")
        platform.ask_node(leader, "select pg_switch_wal()")
        platform.ask_node(leader, "checkpoint")
        return [status for status, in platform.ask_node(
            leader, "select wal_status from pg_replication_slots where not active")] == ["lost"]
    wait_until(lost, "the leader to give up the slot's WAL")
    for _ in range(4):  # far enough behind for the readers' port to notice
        platform.ask_node(leader, "select pg_logical_emit_message(false, 'x', repeat('x', 20000000))")
    platform.ask_node(leader, f"alter role {user} password '{password}'")
    return replica


def lag_status(platform, replica):
    """Patroni's answer to the router about a replica."""
    host = platform.node_configuration(replica)["restapi"]["connect_address"]
    # By TLS, as its cell has set it up; another scenario tests who shows the certificate.
    connection = http.client.HTTPSConnection(*host.rsplit(":", 1), timeout=10,
                                             context=ssl._create_unverified_context())
    try:
        connection.request("OPTIONS", "/replica?lag=64MB")
        return connection.getresponse().status
    finally:
        connection.close()


def read(uri, statement):
    """The rows that a reader sees; None while the port leads nowhere."""
    try:
        return rows_of(uri, statement)
    except psycopg2.OperationalError:
        return None


@scenario("a replica that the leader has left behind is noticed, is not counted, and is replaced")
def left_behind(platform):
    platform.create("behind", nodes=2, plan=LITTLE_WAL)
    uri = platform.bind("behind", "app")["uri"]
    reader = platform.bind("behind", "reader", parameters={"read-only": True})["uri"]
    rows_of(uri, "create table t (n int)")
    leader = platform.leader("behind")
    wait_until(lambda: lag_status(platform, replica_of(platform, "behind")) == 200, "readers to have a good replica")
    replica = leave_behind(platform, "behind")
    rows_of(uri, "insert into t select generate_series(1, 1000)")

    wait_until(lambda: "does not replicate" in node_health(platform, "behind").get(replica, ""),
               lambda: f"it to be noticed: {node_health(platform, 'behind')}")
    equal(node_health(platform, "behind")[leader], "well", "the leader")
    told = platform.last_operation("behind")[1]["description"]
    equal(told, "master running; replicas running but not replicating", "what the tenant is told")
    health = lambda: platform.osb("GET", "/healthz")[2]
    wait_until(lambda: (health()["unwell_instances"], health().get("unwell")) == (1, ["behind"]),
               lambda: f"/healthz to tell an operator; it says {health()}")
    stranger = platform.osb("GET", "/healthz", auth=None)[2]
    equal((stranger["unwell_instances"], "unwell" in stranger), (1, False), "what /healthz tells a stranger")
    wait_until(lambda: lag_status(platform, replica) == 503, "Patroni to keep readers off it")

    # The update does not succeed as long as one of the two nodes does not replicate.
    platform.update("behind", **{"node-count": 2})
    platform.wait_operation("behind").must_succeed()
    true(replica not in node_health(platform, "behind"), "the update succeeded with the replica that was left behind")
    equal(set(node_health(platform, "behind").values()), {"well"}, "the nodes' health in the end")
    equal(platform.leader("behind"), leader, "the leader")
    wait_until(lambda: read(reader, "select count(*), pg_is_in_recovery() from t") == [(1000, True)],
               "readers to see all rows on a replica")
    wait_until(lambda: platform.ask_node(leader, "select wal_status from pg_replication_slots") == [("reserved",)],
               "no slot to be left but the new replica's")
    wait_until(lambda: platform.osb("GET", "/healthz")[2]["unwell_instances"] == 0, "/healthz to be content")
    exactly_as_asked(platform, "behind", 2)
    platform.remove("behind")


@scenario("the WAL that a slot keeps is bounded, also in clusters made before there was a bound")
def bounded(platform):
    platform.create("old", nodes=1)
    leader = platform.leader("old")
    bound = lambda: platform.ask_node(leader, "show max_slot_wal_keep_size")[0][0]
    equal(bound(), "4GB", "the bound by default")
    # As an earlier release left it.
    platform.stop_broker()
    forget_parameter(platform, "/service/old/config", ["postgresql", "parameters"])
    for settings in (["desired", "settings", "parameters"], ["in_force", "parameters"]):
        forget_parameter(platform, "/service/old/state", settings)
    wait_until(lambda: bound() == "-1", "Patroni to take the bound away")
    platform.start_broker()
    wait_until(lambda: bound() == "4GB", "the broker to bring it back")
    in_force = lambda: platform.admin("old")["settings"]["parameters"].get("max_slot_wal_keep_size")
    wait_until(lambda: in_force() == "4GB", "the broker to know that it is in force")
    exactly_as_asked(platform, "old", 1)
    platform.remove("old")


def forget_parameter(platform, key, path):
    value = json.loads(platform.keys(key)[key])
    parameters = value
    for name in path:
        parameters = parameters[name]
    del parameters["max_slot_wal_keep_size"]
    platform.put_key(key, json.dumps(value))
