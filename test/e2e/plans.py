"""Plans that differ, and instances that change from one to another while applications write."""

import concurrent.futures
import copy
import json

import yaml

from checks import equal, exactly_as_asked, json_error, nothing_changes, rows_of, scenario, true
from databases import Writer
from layout import PLAN, SERVICE
from waiting import PATIENCE, wait_until
from offers import (CLOSED, FIXED, LARGE, NEWER_VERSION, OTHER_TYPE, SINGLE, STRICT, STRICTLY, SYNCHRONOUS,
                    VERSION)

PLATFORM = STRICT

ASYNC = {"accepts_incomplete": "true"}


def shared(platform):
    """An instance of two nodes with a binding, which changes its plan from scenario to scenario."""
    if not hasattr(platform, "changing"):
        platform.provision("changing", nodes=2)
        platform.provision("fixed", nodes=1, plan=FIXED)
        for name in ("changing", "fixed"):
            platform.wait_operation(name).must_succeed()
        exactly_as_asked(platform, "changing", 2)
        platform.changing = platform.bind("changing", "app")["uri"]
    return platform.changing


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()
    platform.plan_of.clear()


def shows(platform, instance, name):
    """Each node's value of one of PostgreSQL's settings."""
    return [platform.ask_node(node, "select current_setting(%s, true)", name)[0][0]
            for node in sorted(platform.nodes_of(instance))]


def timeline(platform, instance):
    """PostgreSQL's timeline: it grows by one with each new leader."""
    leader = platform.leader(instance)
    return platform.ask_node(leader, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))"
                                     "::bit(32)::int")[0][0]


def change(platform, uri, plan, table):
    """Changes the plan while an application writes: no acknowledged row may be lost, and there may be one
    switchover at most."""
    before = timeline(platform, "changing")
    with Writer(uri, table) as writer:
        writer.wait_for_writes(20)
        platform.update("changing", plan=plan)
        platform.wait_operation("changing").must_succeed()
        writer.wait_for_writes(50)
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing: {missing[:5]}")
    print(f"       {len(writer.acknowledged)} rows, longest gap {writer.longest_gap():.2f} s")
    promotions = timeline(platform, "changing") - before
    true(promotions <= 1, f"{promotions} nodes took over one after the other")
    exactly_as_asked(platform, "changing", 2)
    equal(platform.osb("GET", "/v2/service_instances/changing")[2]["plan_id"], plan, "the fetched plan")
    for node in platform.nodes_of("changing"):
        equal(platform.ask_node(node, "select count(*) from pg_settings where pending_restart"), [(0,)],
              f"what waits for a restart on {node}")


@scenario("a change to a larger plan reaches every node with one switchover, and loses nothing")
def up(platform):
    uri = shared(platform)
    equal(shows(platform, "changing", "max_connections"), ["100", "100"], "max_connections before")
    change(platform, uri, LARGE, "up")
    for name, value in (("max_connections", "150"), ("shared_buffers", "24MB"), ("work_mem", "5MB")):
        equal(shows(platform, "changing", name), [value] * 2, name)


@scenario("a change to a smaller plan does the same")
def down(platform):
    uri = shared(platform)
    if platform.plan_of.get("changing") != LARGE:
        change(platform, uri, LARGE, "up")
    change(platform, uri, PLAN, "down")
    for name, value in (("max_connections", "100"), ("shared_buffers", "16MB"), ("work_mem", "4MB")):
        equal(shows(platform, "changing", name), [value] * 2, name)


@scenario("a change to nodes of another type replaces all of them, and loses nothing")
def another_type(platform):
    uri = shared(platform)
    before = platform.nodes_of("changing")
    change(platform, uri, OTHER_TYPE, "replaced")
    left = before.keys() & platform.nodes_of("changing").keys()
    true(not left, f"nodes that were not replaced: {left}")
    platform.update("changing", plan=PLAN)
    platform.wait_operation("changing").must_succeed()
    exactly_as_asked(platform, "changing", 2)


@scenario("a synchronous plan loses no acknowledged row when the leader's machine dies, and moves")
def synchronous(platform):
    uri = shared(platform)
    change(platform, uri, SYNCHRONOUS, "synchronous")
    leader = platform.leader("changing")
    replica = next(node for node in platform.nodes_of("changing") if node != leader)
    wait_until(lambda: replica in platform.keys("/service/changing/").get("/service/changing/sync", ""),
               "the replica to be synchronous")
    cell = platform.nodes_of("changing")[leader]
    with Writer(uri, "killed") as writer:
        writer.wait_for_writes(50)
        platform.kill_machine(cell)
        wait_until(lambda: platform.leader("changing") not in (None, leader), "another leader")
        writer.wait_for_writes(50)
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing: {missing[:5]}")
    platform.start_machine(cell)
    exactly_as_asked(platform, "changing", 2)
    platform.wait_cells_seen()

    cells = [guid for guid in platform.guids if guid not in platform.nodes_of("changing").values()]
    with Writer(uri, "moved") as writer:
        platform.update("changing", cells=cells)
        platform.wait_operation("changing").must_succeed()
        writer.wait_for_writes(50)
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing after the move: {missing[:5]}")
    exactly_as_asked(platform, "changing", 2, cells)
    platform.update("changing", cells=platform.guids, plan=PLAN)
    platform.wait_operation("changing").must_succeed()
    exactly_as_asked(platform, "changing", 2)
    # Patroni sets that itself in its next cycle.
    wait_until(lambda: shows(platform, "changing", "synchronous_standby_names") == [""] * 2,
               "commits to wait for nobody afterwards")


@scenario("a strictly synchronous plan refuses writes while there is no replica")
def strictly(platform):
    platform.create("strictly", nodes=2, plan=STRICTLY)
    config = json.loads(platform.keys("/service/strictly/config")["/service/strictly/config"])
    equal((config["ttl"], config["synchronous_mode"], config["synchronous_mode_strict"]), (6, True, True),
          "Patroni's configuration")
    equal((config["retry_timeout"], config["loop_wait"]), (2, 2), "the times that follow from the ttl")
    uri = platform.bind("strictly", "app")["uri"]
    leader = platform.leader("strictly")
    replica = next(node for node in platform.nodes_of("strictly") if node != leader)
    rows_of(uri, "create table t (n int)")
    # Patroni counts a replica as synchronous as soon as its name is in this key.
    wait_until(lambda: replica in platform.keys("/service/strictly/").get("/service/strictly/sync", ""),
               "the replica to be synchronous")
    waits = lambda: platform.ask_node(leader, "select count(*) from pg_stat_activity where wait_event = 'SyncRep' "
                                              "and query like 'insert into t%%'") == [(1,)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with platform.frozen(replica):
            write = pool.submit(rows_of, uri, "insert into t values (1)")
            wait_until(waits, "the write to wait for a replica")
            # In a plan that is not strict, commits no longer wait once Patroni misses the replica.
            wait_until(lambda: f"/service/strictly/members/{replica}" not in platform.keys("/service/strictly/"),
                       "the replica to be missed")
            wait_until(lambda: platform.ask_node(leader, "show synchronous_standby_names") == [("*",)],
                       "Patroni to demand any replica")
            true(waits() and not write.done(), "the write was acknowledged without a replica")
        write.result(PATIENCE)
    wait_until(lambda: platform.ask_node(leader, "select count(*) from pg_stat_replication "
                                                 "where sync_state = 'sync'") == [(1,)], "the replica to be back")
    rows_of(uri, "insert into t values (2)")
    exactly_as_asked(platform, "strictly", 2)
    platform.unbind("strictly", "app")
    platform.remove("strictly")


@scenario("a newer version of a plan is taken up only by instances that ask for it")
def maintenance(platform):
    uri = shared(platform)
    old = platform.broker_config.read_text()
    config = yaml.safe_load(old)
    for plan in config["catalog"]["services"][0]["plans"]:
        if plan["id"] in (PLAN, FIXED):
            plan["maintenance_info"]["version"] = NEWER_VERSION
            plan["provision"].setdefault("parameters", {})["work_mem"] = "7MB"
    platform.broker_config.write_text(yaml.safe_dump(config))
    platform.restart_broker()
    try:
        version = lambda name: platform.osb("GET", platform.instance_path(name))[2]["maintenance_info"]["version"]
        equal((version("changing"), version("fixed")), (VERSION, VERSION), "the versions before")
        platform.update("changing", expect=200)  # the update names no version
        equal(shows(platform, "changing", "work_mem"), ["4MB"] * 2, "work_mem before")
        with nothing_changes(platform):
            answer = platform.osb("PATCH", "/v2/service_instances/changing", {
                "service_id": SERVICE, "maintenance_info": {"version": VERSION}}, ASYNC)
        equal(answer[0], 422, f"the version that was ({answer[2]})")
        json_error(answer, "the version that was", "MaintenanceInfoConflict")
        platform.update("changing", body={"maintenance_info": {"version": NEWER_VERSION}})
        platform.wait_operation("changing").must_succeed()
        equal(version("changing"), NEWER_VERSION, "the version afterwards")
        equal(shows(platform, "changing", "work_mem"), ["7MB"] * 2, "work_mem afterwards")
        equal(rows_of(uri, "show work_mem"), [("7MB",)], "work_mem of an application")
        equal((version("fixed"), shows(platform, "fixed", "work_mem")), (VERSION, ["4MB"]), "the other instance")
        platform.update("changing", body={"maintenance_info": {"version": NEWER_VERSION}}, expect=200)
    finally:
        platform.broker_config.write_text(old)
        platform.restart_broker()
    platform.update("changing", body={"maintenance_info": {"version": VERSION}})
    platform.wait_operation("changing").must_succeed()
    equal(shows(platform, "changing", "work_mem"), ["4MB"] * 2, "work_mem at the end")


@scenario("while a plan changes, a bind and a removal that name the previous plan are served")
def plan_of_before(platform):
    platform.provision("leaving", nodes=1)
    platform.wait_operation("leaving").must_succeed()
    path, before = platform.instance_path("leaving"), {"service_id": SERVICE, "plan_id": PLAN}
    status, _, answer = platform.osb("PATCH", path, {**before, "plan_id": LARGE}, ASYNC)
    equal(status, 202, f"the change ({answer})")
    status, _, answer = platform.osb("PUT", path + "/service_bindings/early", before, ASYNC)
    true(status in (201, 202), f"a bind meanwhile: {status} {answer}")
    status, _, answer = platform.osb("DELETE", path, None, {**before, **ASYNC})
    equal(status, 202, f"a removal meanwhile ({answer})")
    true(platform.wait_operation("leaving").gone, "the instance is still there")
    equal([node for node, (_, scope) in platform.running_nodes().items() if scope == "leaving"], [],
          "its nodes")


@scenario("a change to another plan that is not plan_updateable is refused, and everything stays as it is")
def refused(platform):
    shared(platform)
    before = platform.osb("GET", "/v2/service_instances/fixed")[2], shows(platform, "fixed", "max_connections")
    for body in ({"plan_id": LARGE}, {"plan_id": LARGE, "parameters": {"node-count": 2}}):
        with nothing_changes(platform):
            answer = platform.osb("PATCH", "/v2/service_instances/fixed", {"service_id": SERVICE, **body}, ASYNC)
        equal(answer[0], 422, f"the change of plan ({answer[2]})")
        json_error(answer, "the change of plan")
    after = platform.osb("GET", "/v2/service_instances/fixed")[2], shows(platform, "fixed", "max_connections")
    equal(after, before, "the instance")


def violations(schema):
    """(keyword, parameters) that break one rule each of a JSON schema for an object."""
    if schema.get("additionalProperties") is False:
        yield "additionalProperties", {"no-such-parameter": 1}
    for name, rule in schema["properties"].items():
        wrong_types = {"integer": ["2", 2.5, None, [], {}, True], "array": ["x", 1, None, {}, False],
                       "boolean": ["true", 1, 0, None, []], "string": [1, None, [], {}], "object": ["x", 1, []]}
        for value in wrong_types[rule["type"]]:
            yield f"type of {name}", {name: value}
        if "minimum" in rule:
            yield f"minimum of {name}", {name: rule["minimum"] - 1}
        if "maximum" in rule:
            yield f"maximum of {name}", {name: rule["maximum"] + 1}
        if rule.get("minItems"):
            yield f"minItems of {name}", {name: []}
        if rule.get("uniqueItems"):
            yield f"uniqueItems of {name}", {name: ["held-1", "held-1"]}
        if "items" in rule:
            for value in wrong_types[rule["items"]["type"]]:
                yield f"items of {name}", {name: [value]}
        for key in ("enum", "pattern"):
            if key in rule:
                yield f"{key} of {name}", {name: "no such value"}


@scenario("parameters that break any keyword of a schema are refused with the field's name, and leave no trace")
def schemas(platform):
    shared(platform)
    services = platform.osb("GET", "/v2/catalog")[2]["services"]
    tried = set()
    for plan in services[0]["plans"]:
        if plan["id"] not in (PLAN, SINGLE, CLOSED):
            continue
        create = copy.deepcopy(plan["schemas"]["service_instance"]["create"]["parameters"])
        for what, parameters in violations(create):
            tried.add(what.split(" ")[0])
            refuses(platform, what, "PUT", "/v2/service_instances/violated", {
                "service_id": SERVICE, "plan_id": plan["id"], "organization_guid": "o", "space_guid": "s",
                "parameters": parameters})
        if plan["id"] != PLAN:
            continue
        for what, parameters in violations(plan["schemas"]["service_instance"]["update"]["parameters"]):
            refuses(platform, what, "PATCH", "/v2/service_instances/changing", {
                "service_id": SERVICE, "parameters": parameters})
        for what, parameters in violations(plan["schemas"]["service_binding"]["create"]["parameters"]):
            refuses(platform, what, "PUT", "/v2/service_instances/changing/service_bindings/violated", {
                "service_id": SERVICE, "plan_id": PLAN, "parameters": parameters})
    equal(tried, {"additionalProperties", "type", "minimum", "maximum", "minItems", "uniqueItems", "items"},
          "the keywords that were broken")


def refuses(platform, what, method, path, body):
    with nothing_changes(platform):
        answer = platform.osb(method, path, body, ASYNC)
    equal(answer[0], 400, f"{what} ({body['parameters']}, answered {answer[2]})")
    json_error(answer, what)
    field = next(iter(body["parameters"]))
    true(field in answer[2]["description"], f"{what}: no {field} in {answer[2]['description']!r}")
