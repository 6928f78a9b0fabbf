"""Provisioning."""

import json

from checks import equal, nothing_changes, true
from layout import PLAN, SERVICE
from offers import FIXED, NEWER_VERSION, OTHER_PLAN, OTHER_SERVICE, VERSION
from osb_chapters.requests import ASYNC, ask, delete, expect, ids, instance, is_text, put, refuse, wanted, without
from osb_chapters.rows import row
from osb_chapters.sharing import created, made, shared
from waiting import wait_until


@row("PRV-1", "no provision is answered as if it were done within the request: there is no 201")
def _(platform):
    made_of = shared(platform)
    equal({answer.status for answer in made_of.accepted.values()}, {202}, "the answers to provisions")
    refuse(platform, lambda: put(platform, "x", wanted(), {}), 422, error="AsyncRequired")


@row("PRV-2", "a provision that is under way is answered 202")
def _(platform):
    with made(platform, "x") as answer:
        true(is_text(answer.body["operation"]), f"no operation in {answer.body}")


@row("PRV-3", "a provision without accepts_incomplete is answered 422 AsyncRequired")
def _(platform):
    shared(platform)
    refuse(platform, lambda: put(platform, "x", wanted(), {}), 422, error="AsyncRequired")
    refuse(platform, lambda: put(platform, "x", wanted(accepts_incomplete=True), {}), 422, error="AsyncRequired")


@row("PRV-4", "a provision with accepts_incomplete=false is answered 422 AsyncRequired")
def _(platform):
    shared(platform)
    refuse(platform, lambda: put(platform, "x", wanted(), {"accepts_incomplete": "false"}), 422,
           error="AsyncRequired")


@row("PRV-5", "the same provision again, once it is done, is answered 200")
def _(platform):
    body = shared(platform).bodies["main"]
    with nothing_changes(platform):
        expect(put(platform, "main", body), 200)
        reordered = json.loads(json.dumps(body, sort_keys=True))
        expect(put(platform, "main", dict(reversed(reordered.items()))), 200)


@row("PRV-6", "the same provision again, while it is under way, is answered 202 with the same operation")
def _(platform):
    made_of = shared(platform)
    with nothing_changes(platform):
        answer = expect(put(platform, "held", made_of.bodies["held"]), 202)
    equal(answer.body["operation"], made_of.accepted["held"].body["operation"], "the operation")


def other_attributes(body):
    return [{**body, "plan_id": FIXED}, {**body, "service_id": OTHER_SERVICE, "plan_id": OTHER_PLAN},
            {**body, "organization_guid": "other"}, {**body, "space_guid": "other"},
            {**body, "parameters": {**body["parameters"], "node-count": 3 - body["parameters"].get("node-count", 1)}},
            without(body, "parameters")]


@row("PRV-7", "the same id with other attributes is answered 409")
def _(platform):
    for body in other_attributes(shared(platform).bodies["main"]):
        refuse(platform, lambda: put(platform, "main", body), 409, what=json.dumps(body))


@row("PRV-8", "the same id with other attributes, while it is being provisioned, is answered 409")
def _(platform):
    for body in other_attributes(shared(platform).bodies["held"]):
        refuse(platform, lambda: put(platform, "held", {**body}), 409, 400, what=json.dumps(body))
    refuse(platform, lambda: put(platform, "held", wanted(cells=["held-2"])), 409)


@row("PRV-9", "a body that is malformed, empty or no object is answered 400")
def _(platform):
    shared(platform)
    for body in ("{", "", "[]", "null", "true", "{\"service_id\":}", "{} {}", "nonsense"):
        refuse(platform, lambda: put(platform, "x", body, headers={"Content-Type": "application/json"}), 400,
               what=body)


def missing_or_empty(platform, name):
    shared(platform)
    for body in (without(wanted(), name), {**wanted(), name: ""}, {**wanted(), name: None}):
        answer = refuse(platform, lambda: put(platform, "x", body), 400, what=str(body.get(name, "missing")))
        true(name in answer.body["description"], f"no {name} in {answer.body}")


@row("PRV-10", "a provision without a service_id is answered 400")
def _(platform):
    missing_or_empty(platform, "service_id")


@row("PRV-11", "a provision without a plan_id is answered 400")
def _(platform):
    missing_or_empty(platform, "plan_id")


@row("PRV-12", "a provision without an organization_guid is answered 400")
def _(platform):
    missing_or_empty(platform, "organization_guid")


@row("PRV-13", "a provision without a space_guid is answered 400")
def _(platform):
    missing_or_empty(platform, "space_guid")


@row("PRV-14", "a provision of an unknown service is answered 400")
def _(platform):
    shared(platform)
    for service in ("nothing", PLAN, SERVICE.upper(), SERVICE + " "):
        refuse(platform, lambda: put(platform, "x", {**wanted(), "service_id": service}), 400, what=service)


@row("PRV-15", "a provision of a plan that is not of the service is answered 400")
def _(platform):
    shared(platform)
    for plan in ("nothing", SERVICE, OTHER_PLAN):
        refuse(platform, lambda: put(platform, "x", wanted(plan)), 400, what=plan)


@row("PRV-16", "invalid parameters are refused with a description that names the field")
def _(platform):
    shared(platform)
    parameters = lambda **fields: {**wanted(), "parameters": {
        name.replace("_", "-"): value for name, value in fields.items()}}
    for fields, field in (({"node_count": 0}, "node-count"), ({"node_count": -1}, "node-count"),
                          ({"node_count": 2.5}, "node-count"), ({"node_count": "2"}, "node-count"),
                          ({"node_count": None}, "node-count"), ({"node_count": 99}, "node-count"),
                          ({"node_count": 10**30}, "node-count"), ({"node_count": True}, "node-count"),
                          ({"cells": "held-1"}, "cells"), ({"cells": [1]}, "cells"), ({"cells": [[]]}, "cells"),
                          ({"cells": ["held-1", "held-1"]}, "cells"), ({"cells": ["nowhere"]}, "nowhere"),
                          ({"node_count": 2, "cells": ["held-1"]}, "cells"),
                          ({"nodes": 2}, "nodes"), ({"read_only": True}, "read-only")):
        answer = refuse(platform, lambda: put(platform, "x", parameters(**fields)), 400, what=str(fields))
        true(field in answer.body["description"], f"no {field} in {answer.body}")


@row("PRV-17", "fields of a wrong type are answered 400")
def _(platform):
    shared(platform)
    for more in ({"service_id": 5}, {"plan_id": []}, {"organization_guid": {}}, {"space_guid": True},
                 {"parameters": []}, {"parameters": "x"}, {"parameters": 1}, {"context": []}, {"context": "x"},
                 {"maintenance_info": "1.0.0"}, {"maintenance_info": {"version": 1}}):
        refuse(platform, lambda: put(platform, "x", {**wanted(), **more}), 400, what=str(more))


@row("PRV-18", "another maintenance version than the catalog's is answered 422 MaintenanceInfoConflict")
def _(platform):
    shared(platform)
    for version in ("9.9.9", NEWER_VERSION):
        refuse(platform, lambda: put(platform, "x", wanted(maintenance_info={"version": version})), 422,
               error="MaintenanceInfoConflict")


@row("PRV-19", "the catalog's maintenance version is accepted, whatever other members there are")
def _(platform):
    with made(platform, "y", wanted(maintenance_info={})):
        pass
    with made(platform, "x", wanted(maintenance_info={"version": VERSION, "description": "else", "more": 1})):
        created(platform, "x")
        equal(ask(platform, "GET", instance("x")).body["maintenance_info"]["version"], VERSION, "the version")


@row("PRV-20", "a dashboard_url is in no answer or a text in the first one")
def _(platform):
    made_of = shared(platform)
    first = made_of.accepted["main"].body.get("dashboard_url")
    true(first is None or is_text(first), f"{first}")
    equal(ask(platform, "GET", instance("main")).body.get("dashboard_url"), first, "the fetched one")


@row("PRV-21", "an operation is a text of 10,000 characters at most")
def _(platform):
    for answer in shared(platform).accepted.values():
        true(is_text(answer.body["operation"]) and len(answer.body["operation"]) <= 10_000, f"{answer.body}")


@row("PRV-22", "a refused instance does not exist")
def _(platform):
    shared(platform)
    for body in (without(wanted(), "plan_id"), wanted(OTHER_PLAN), wanted(parameters={"nodes": 1})):
        refuse(platform, lambda: put(platform, "never", body), 400)
        expect(ask(platform, "GET", instance("never", "/last_operation")), 404)
        expect(ask(platform, "GET", instance("never")), 404)
        expect(delete(platform, "never", {**ids(), **ASYNC}), 410)


@row("PRV-23", "the contexts of Cloud Foundry and of Kubernetes are accepted")
def _(platform):
    for context in ({"platform": "cloudfoundry", "organization_guid": "org", "space_guid": "space",
                     "organization_annotations": {"a/b": "c"}, "instance_name": "my-db"},
                    {"platform": "kubernetes", "namespace": "n", "clusterid": "c", "instance_name": "my-db"}, {}):
        with made(platform, "x", wanted(context=context)):
            created(platform, "x")


@row("PRV-24", "a removal while it is being provisioned ends the provision and leaves nothing")
def _(platform):
    shared(platform)
    cell = platform.held[0]
    cell.hides.add("halted")
    try:
        expect(put(platform, "halted", wanted()), 202)
        wait_until(lambda: "halted" in cell.nodes.values(), "the node to be started")
        expect(delete(platform, "halted", {**ids(), **ASYNC}), 202)
        true(platform.wait_operation("halted").gone, "it is still there")
    finally:
        cell.hides.discard("halted")
    true("halted" not in cell.nodes.values(), "its node still runs")
    true(not platform.keys("/service/halted/"), "its keys are still there")


@row("PRV-25", "a provision that failed stays visible, and can be removed")
def _(platform):
    shared(platform)
    cell = platform.held[2]
    cell.refuses_start.add("failing")
    try:
        expect(put(platform, "failing", wanted(cells=["held-3"])), 202)
        operation = platform.wait_operation("failing")
        equal(operation.state, "failed", "the state")
        true("held-3" in operation.description, f"no cell in {operation.description!r}")
        expect(ask(platform, "GET", instance("failing")), 404)
        expect(delete(platform, "failing", {**ids(), **ASYNC}), 202, 200)
        true(platform.wait_operation("failing").gone, "it is still there")
    finally:
        cell.refuses_start.discard("failing")
