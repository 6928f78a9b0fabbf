"""Invalid requests: the status that the specification names, a JSON error, no effect."""

import json

from checks import equal, json_error, nothing_changes, scenario, true
from layout import PASSWORD, PLAN, SERVICE, USERNAME

GOOD = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space"}
ASYNC = {"accepts_incomplete": "true"}
IDS = {"service_id": SERVICE, "plan_id": PLAN}


def without(name):
    return {key: value for key, value in GOOD.items() if key != name}


def with_parameters(**parameters):
    return {**GOOD, "parameters": {name.replace("_", "-"): value for name, value in parameters.items()}}


def refused(platform, table):
    """Each row: a name, the request's (method, path, body, query), the status, and the error code."""
    wrong = []
    for what, request, status, *error in table:
        with nothing_changes(platform):
            answer = platform.osb(*request)
        try:
            equal(answer[0], status, f"the status ({answer[2]})")
            json_error(answer, what, *error)
        except AssertionError as difference:
            wrong.append(f"{what}: {difference}")
    true(not wrong, lambda: "\n  ".join(["not answered as specified:", *wrong]))


@scenario("an invalid provision is refused, and nothing is made")
def provision(platform):
    put = lambda body, instance="bad": ("PUT", f"/v2/service_instances/{instance}", body, ASYNC)
    cells = platform.guids
    refused(platform, [
        ("malformed JSON", put("{"), 400),
        ("an empty body", put(""), 400),
        ("no object", put("[]"), 400),
        ("a number as service", put({**GOOD, "service_id": 5}), 400),
        ("an empty service", put({**GOOD, "service_id": ""}), 400),
        ("no plan", put(without("plan_id")), 400),
        ("an unknown service", put({**GOOD, "service_id": "nothing"}), 400),
        ("an unknown plan", put({**GOOD, "plan_id": "nothing"}), 400),
        ("parameters that are a list", put({**GOOD, "parameters": []}), 400),
        ("a context that is a list", put({**GOOD, "context": []}), 400),
        ("an unknown parameter", put(with_parameters(nodes=2)), 400),
        ("no node", put(with_parameters(node_count=0)), 400),
        ("fewer than no nodes", put(with_parameters(node_count=-1)), 400),
        ("two and a half nodes", put(with_parameters(node_count=2.5)), 400),
        ("two nodes in words", put(with_parameters(node_count="two")), 400),
        ("more nodes than cells", put(with_parameters(node_count=len(cells) + 1)), 400),
        ("an absurd number of nodes", put(with_parameters(node_count=10**30)), 400),
        ("an unknown cell", put(with_parameters(cells=["nowhere", cells[0]])), 400),
        ("a cell named twice", put(with_parameters(cells=[cells[0], cells[0]])), 400),
        ("fewer cells than nodes", put(with_parameters(node_count=2, cells=cells[:1])), 400),
        ("cells that are no list", put(with_parameters(cells=cells[0])), 400),
        ("a body of more than 1 MB", put({**GOOD, "context": {"filler": "x" * (1 << 20)}}), 413),
        ("JSON nested 100,000 deep", put("[" * 100_000), 400),
    ])
    equal(platform.last_operation("bad")[0], 404, "last_operation of what was never made")


@scenario("what contradicts an existing instance is refused, and it stays as it is")
def contradictions(platform):
    platform.create("good", nodes=2)
    platform.bind("good", "app")
    platform.witnesses.append(lambda: platform.roles("good"))
    path = "/v2/service_instances/good"
    binding = path + "/service_bindings/"
    patch = lambda **parameters: ("PATCH", path, {"service_id": SERVICE, "parameters": {
        name.replace("_", "-"): value for name, value in parameters.items()}}, ASYNC)
    cells = platform.guids
    refused(platform, [
        ("the same id with other parameters", ("PUT", path, with_parameters(node_count=3), ASYNC), 409),
        ("the same id in another space", ("PUT", path, {**with_parameters(node_count=2), "space_guid": "other"},
                                          ASYNC), 409),
        ("an update without a service", ("PATCH", path, {"parameters": {"node-count": 3}}, ASYNC), 400),
        ("an update of another service", ("PATCH", path, {"service_id": "nothing"}, ASYNC), 400),
        ("an update to an unknown plan", ("PATCH", path, {**IDS, "plan_id": "nothing"}, ASYNC), 400),
        ("a malformed update", ("PATCH", path, "{", ASYNC), 400),
        ("an update to no node", patch(node_count=0), 400),
        ("an update to half a node", patch(node_count=0.5), 400),
        ("an update to more nodes than cells", patch(node_count=len(cells) + 1), 400),
        ("a move to an unknown cell", patch(cells=["nowhere", cells[0]]), 400),
        ("a move to fewer cells than nodes", patch(cells=cells[:1]), 400),
        ("a removal without ids, of another plan", ("DELETE", path, None, {**IDS, "plan_id": "nothing", **ASYNC}),
         400),
        ("the same binding with another application",
         ("PUT", binding + "app", {**IDS, "app_guid": "other"}), 409),
        ("a binding of another plan", ("PUT", binding + "other", {**IDS, "plan_id": "nothing"}), 400),
        ("a malformed binding", ("PUT", binding + "other", "{"), 400),
        ("the end of an unknown binding", ("DELETE", binding + "other", None, IDS), 410),
        ("the end of a binding under another plan", ("DELETE", binding + "app", None,
                                                     {**IDS, "plan_id": "nothing"}), 400),
    ])
    platform.witnesses.clear()
    platform.unbind("good", "app")
    platform.remove("good")


@scenario("what does not exist is reported as not existing")
def unknown(platform):
    path = "/v2/service_instances/"
    refused(platform, [
        ("last_operation of an unknown instance", ("GET", path + "nobody/last_operation"), 404),
        ("fetching an unknown instance", ("GET", path + "nobody"), 404),
        ("fetching a binding of an unknown instance", ("GET", path + "nobody/service_bindings/app"), 404),
        ("updating an unknown instance", ("PATCH", path + "nobody", {"service_id": SERVICE}, ASYNC), 404),
        ("binding an unknown instance", ("PUT", path + "nobody/service_bindings/app", IDS), 404),
        ("an unknown path", ("GET", "/v2/nothing"), 404),
        ("an unknown method", ("DELETE", "/v2/catalog"), 405),
        ("an id that is half an escape", ("GET", path + "%zz"), 400),
    ])
    status, _, _ = platform.osb("DELETE", path + "nobody", None, {**IDS, **ASYNC})
    equal(status, 410, "removing an unknown instance")
    for auth in (None, ("x", "y"), (USERNAME, "x"), ("", ""), (USERNAME + "\n", PASSWORD)):
        answer = platform.osb("GET", "/v2/catalog", auth=auth)
        equal(answer[0], 401, f"the catalog for {auth}")
        true("x" * 5 not in json.dumps(answer[2]), "the answer repeats the password")
    answer = platform.osb("GET", "/v2/catalog", headers={"X-Broker-API-Version": "1.0"})
    equal(answer[0], 412, "a version that is too old")
    json_error(answer, "a version that is too old")


@scenario("while an operation runs, another update or a binding has to wait")
def busy(platform):
    path = "/v2/service_instances/busy"
    update = lambda nodes: platform.osb(
        "PATCH", path, {"service_id": SERVICE, "parameters": {"node-count": nodes}}, ASYNC)
    # Frozen cells keep an operation from ending before the next request comes.
    with platform.frozen_processes(platform.cells):
        platform.provision("busy", nodes=1)
        for what, answer in (("an update while it is created", update(2)),
                             ("a binding while it is created", platform.osb(
                                 "PUT", path + "/service_bindings/app", IDS))):
            equal(answer[0], 422, f"{what} ({answer[2]})")
            json_error(answer, what, "ConcurrencyError")
        equal(platform.osb("GET", path)[0], 404, "fetching it while it is created")
    platform.wait_operation("busy").must_succeed()
    with platform.frozen_processes(platform.cells):
        platform.update("busy", node_count=3)
        answer = update(2)
    equal(answer[0], 422, f"an update while it is updated ({answer[2]})")
    json_error(answer, "an update while it is updated", "ConcurrencyError")
    platform.wait_operation("busy").must_succeed()
    equal(len(platform.running_nodes()), 3, "the nodes")
    platform.remove("busy")
