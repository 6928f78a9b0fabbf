"""Cells that are gone for good, what they still run when they come back, and nodes without a record."""

import base64
import contextlib
import json

import psycopg2

from checks import equal, exactly_as_asked, recorded, rows_of, scenario, true
from databases import Writer
from layout import PLAN, SERVICE
from waiting import wait_until

REPAIR_AFTER = 15  # seconds; with Patroni's ttl of 5 s and etcd's leases of 10 s a repair begins after 25 s


def quickly(kind, configuration):
    if kind == "broker":
        configuration["repair"] = {"after": f"{REPAIR_AFTER}s", "parallel": 2}


PLATFORM = {"edit": quickly}


def health(platform):
    return platform.osb("GET", "/healthz", auth=None)[2]


def admin(platform, method, path):
    return platform.osb(method, path, auth=platform.admin_auth)


def replaced(platform, instance, lost):
    """The cells of the running nodes, once the full number runs elsewhere; None before."""
    record = platform.record(instance)
    staying = {node["node_id"]: node["backend_id"] for node in record["nodes"] if node["phase"] == "started"}
    members = platform.keys(f"/service/{platform.scope_of(instance)}/members/")
    running = {key.rsplit("/", 1)[1] for key, text in members.items()
               if json.loads(text)["state"] in ("running", "streaming")}
    done = (len(staying) == record["desired"]["node_count"] and lost not in staying.values()
            and set(staying) <= running and platform.leader(instance) in staying)
    return sorted(staying.values()) if done else None


def lose(platform, instance, guid):
    """Kills a machine, and waits until its node of the instance runs elsewhere."""
    platform.kill_machine(guid)
    wait_until(lambda: guid in health(platform)["lost_cells"], f"/healthz to call {guid} lost")
    return wait_until(lambda: replaced(platform, instance, guid),
                      lambda: f"{instance} to be repaired: {platform.admin(instance)['repair']}")


@scenario("a lost cell's node is replaced, nothing is lost, and the old node is removed when the cell is back")
def lost_for_good(platform):
    for which in ("replica", "leader"):
        platform.create("kept", nodes=2)
        uri = platform.bind("kept", "b")["uri"]
        leader = platform.leader("kept")
        nodes = platform.nodes_of("kept")
        node = leader if which == "leader" else next(one for one in nodes if one != leader)
        guid = nodes[node]
        before = platform.last_operation("kept")[1]
        with Writer(uri) as writer:
            writer.wait_for_writes(50)
        wait_replayed(platform, "kept")
        lose(platform, "kept", guid)
        # etcd is read here before the broker has seen its own write.
        wait_until(lambda: platform.last_operation("kept")[1] == before,
                   lambda: f"last_operation, which nobody asked to change, to say {before}; "
                           f"it says {platform.last_operation('kept')[1]}")
        wait_until(lambda: f"removed from cell {guid}" in platform.admin("kept")["repair"],
                   "the instance to tell what waits for the cell")
        wait_until(lambda: rows_of_or_none(uri), "the database to answer")
        equal(writer.missing(), [], "the rows that are missing")
        platform.start_machine(guid)
        wait_until(lambda: node not in platform.running_nodes(), "the old node to be removed")
        wait_until(lambda: len(platform.record("kept")["nodes"]) == 2, "the old node to leave the record")
        exactly_as_asked(platform, "kept", 2)
        wait_until(lambda: not platform.admin("kept")["repair"] and not health(platform)["lost_cells"],
                   "nothing to be repaired any more")
        platform.unbind("kept", "b")
        platform.remove("kept")


@scenario("both cells of a cluster are lost and one comes back: its data is there, and the cluster is repaired")
def lost_together(platform):
    platform.create("double", nodes=2)
    uri = platform.bind("double", "b")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
    scope = platform.scope_of("double")
    initialize = platform.keys(f"/service/{scope}/initialize")
    wait_replayed(platform, "double")
    nodes = platform.nodes_of("double")
    leader = platform.leader("double")
    others = [node for node in nodes if node != leader]
    platform.kill_machine(nodes[leader])
    platform.kill_machine(nodes[others[0]])
    wait_until(lambda: len(health(platform)["lost_cells"]) == 2, "both cells to be lost")
    wait_until(lambda: "no member leads" in platform.admin("double")["repair"], "the broker to wait")
    equal({node["node_id"] for node in platform.record("double")["nodes"]}, set(nodes),
          "the nodes while nobody leads")
    platform.start_machine(nodes[leader])
    wait_until(lambda: replaced(platform, "double", nodes[others[0]]),
               lambda: f"a repair: {platform.admin('double')['repair']}")
    equal(platform.keys(f"/service/{scope}/initialize"), initialize, "the cluster's identity")
    platform.start_machine(nodes[others[0]])
    wait_until(lambda: others[0] not in platform.running_nodes(), "the old node to be removed")
    wait_until(lambda: len(platform.record("double")["nodes"]) == 2, "the old node to leave the record")
    exactly_as_asked(platform, "double", 2)
    wait_until(lambda: rows_of_or_none(uri), "the database to answer")
    equal(writer.missing(), [], "the rows that are missing")
    platform.unbind("double", "b")
    platform.remove("double")


def rows_of_or_none(uri):
    with contextlib.suppress(psycopg2.Error):
        return rows_of(uri, "select count(*) from written")


def wait_replayed(platform, instance):
    """Waits until the replicas have every acknowledged row: the plan is not a synchronous one."""
    leader = platform.leader(instance)
    wait_until(lambda: platform.ask_node(leader, "select bool_and(replay_lsn >= pg_current_wal_lsn()) "
                                         "from pg_stat_replication")[0][0], "the replicas to replay it")


@scenario("a node without a record is reported and kept, until an operator has it removed")
def orphan(platform):
    platform.create("owner", nodes=1)
    guid = platform.guids[-1]
    body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s",
            "parameters": {"PATRONI_SCOPE": "nobody", "NODE_ID": "stray"}}
    parameters = body["parameters"]
    for role in ("ADMIN", "SUPERUSER", "APPUSER", "REPLICATION", "PATRONI"):
        parameters[f"{role}_USERNAME"], parameters[f"{role}_PASSWORD"] = role.lower(), "secret"
    status, _, answer = platform.cell_request(guid, "PUT", "/v2/service_instances/stray", body)
    equal(status, 201, f"a node that nobody records ({answer})")
    mine = [{"cell": guid, "node_id": "stray"}]
    listed = lambda: [{name: one[name] for name in ("cell", "node_id")}
                      for one in admin(platform, "GET", "/admin/orphans")[2]]
    wait_until(lambda: listed() == mine, lambda: f"the orphan to be reported; found {listed()}")
    true("stray" in platform.running_nodes(), "the orphan was removed without anybody's word")
    status, _, answer = admin(platform, "DELETE", f"/admin/orphans/{guid}/stray")
    equal((status, answer), (200, {}), "the removal")
    true("stray" not in platform.running_nodes(), "the orphan is still there")
    wait_until(lambda: listed() == [], lambda: f"no orphan to be listed after that; there is {listed()}")
    equal(admin(platform, "DELETE", f"/admin/orphans/{guid}/stray")[0], 404, "a second removal")
    clear_scope(platform, "nobody")
    exactly_as_asked(platform, "owner", 1)
    platform.remove("owner")


def clear_scope(platform, scope):
    """Patroni's keys of a cluster that no broker knows."""
    first = f"/service/{scope}/".encode()
    platform.etcd_call("/v3/kv/deleterange", {
        "key": base64.b64encode(first).decode(),
        "range_end": base64.b64encode(first[:-1] + b"0").decode()})


@scenario("a cell that answers cannot be forgotten; a lost one can, and its node is removed when it is back")
def forgotten(platform):
    platform.create("moved", nodes=2)
    leader = platform.leader("moved")
    nodes = platform.nodes_of("moved")
    node = next(one for one in nodes if one != leader)
    guid = nodes[node]
    path = f"/admin/cells/{guid}/forget"
    equal(admin(platform, "POST", path)[0], 409, "forgetting a cell that answers")
    equal(admin(platform, "POST", "/admin/cells/nowhere/forget")[0], 404, "forgetting no cell")
    lose(platform, "moved", guid)
    status, _, answer = admin(platform, "POST", path)
    equal(status, 200, f"forgetting the lost cell ({answer})")
    equal([one["node_id"] for one in answer["buried"]], [node], "what is buried")
    wait_until(lambda: len(platform.record("moved")["nodes"]) == 2, "the lost node to leave the record")
    platform.start_machine(guid)
    wait_until(lambda: node not in platform.running_nodes(), "the grave to have its way")
    exactly_as_asked(platform, "moved", 2)
    platform.remove("moved")


@scenario("a broker on an empty etcd, with cells that run databases, removes nothing and is refused")
def empty_etcd(platform):
    platform.create("treasure", nodes=2)
    nodes = platform.running_nodes()
    with contextlib.ExitStack() as undo:
        before = {key: value for key, value in recorded(platform).items()
                  if key.startswith(("/service/treasure/state", "/routing/", "/matriarch/"))}
        platform.stop_broker()
        hide(platform, before)
        undo.callback(show, platform, before)
        undo.callback(platform.stop_broker)
        platform.start_broker()
        seen = lambda: {one["node_id"] for one in admin(platform, "GET", "/admin/orphans")[2]}
        wait_until(lambda: seen() == set(nodes), lambda: f"all nodes to be orphans; found {seen()}")
        equal(platform.running_nodes(), nodes, "the nodes beside a broker that knows none")
        guid = next(iter(nodes.values()))[0]
        status, _, answer = admin(platform, "DELETE", f"/admin/orphans/{guid}/{next(iter(nodes))}")
        true(status >= 400 and "fleet" in answer["description"], f"another fleet's removal: {status} {answer}")
        equal(platform.running_nodes(), nodes, "the nodes after another fleet's order")
    platform.start_broker()
    exactly_as_asked(platform, "treasure", 2)
    platform.remove("treasure")


def hide(platform, keys):
    for key in keys:
        platform.erase_key(key)


def show(platform, keys):
    for key in [key for key in platform.keys("/matriarch/") if key != "/matriarch/active"]:
        platform.erase_key(key)
    for key, value in keys.items():
        platform.put_key(key, value)
