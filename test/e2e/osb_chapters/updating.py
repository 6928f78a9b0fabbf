"""Updating."""

import json

from checks import equal, nothing_changes, true
from layout import SERVICE
from offers import FIXED, LASTING, OTHER_PLAN, OTHER_SERVICE, SINGLE, VERSION
from osb_chapters.requests import ASYNC, ask, expect, ids, instance, is_text, patch, refuse, update, wanted
from osb_chapters.rows import row
from osb_chapters.sharing import created, made, shared


@row("UPD-1", "an update that changes nothing is answered 200")
def _(platform):
    body = shared(platform).bodies["main"]
    with nothing_changes(platform):
        for change in ({"service_id": SERVICE}, update(), update(node_count=2), {**ids()},
                       {"service_id": SERVICE, "parameters": body["parameters"]}):
            answer = expect(patch(platform, "main", change), 200)
            true(isinstance(answer.body, dict), f"{answer.body}")


@row("UPD-2", "an update that is under way is answered 202")
def _(platform):
    expect(shared(platform).update, 202)


@row("UPD-3", "an update without accepts_incomplete=true is answered 422 AsyncRequired")
def _(platform):
    shared(platform)
    for query in ({}, {"accepts_incomplete": "false"}):
        refuse(platform, lambda: patch(platform, "main", update(node_count=1), query), 422, error="AsyncRequired")


@row("UPD-4", "an update without a service_id is answered 400")
def _(platform):
    shared(platform)
    for body in ({"parameters": {"node-count": 1}}, {**update(node_count=1), "service_id": ""}, {}):
        refuse(platform, lambda: patch(platform, "main", body), 400, what=str(body))


@row("UPD-5", "an update of another service is answered 400")
def _(platform):
    shared(platform)
    for service in ("nothing", OTHER_SERVICE):
        refuse(platform, lambda: patch(platform, "main", {**update(node_count=1), "service_id": service}), 400)


@row("UPD-6", "an update to a plan that is not of the service is answered 400")
def _(platform):
    shared(platform)
    for plan in ("nothing", OTHER_PLAN, ""):
        refuse(platform, lambda: patch(platform, "main", {"service_id": SERVICE, "plan_id": plan}), 400, what=plan)


@row("UPD-7", "a malformed update is answered 400")
def _(platform):
    shared(platform)
    for body in ("{", "", "[]", "null"):
        refuse(platform, lambda: patch(platform, "main", body, headers={"Content-Type": "application/json"}), 400,
               what=body)
    for more in ({"context": []}, {"parameters": []}, {"plan_id": 1}, {"previous_values": "x"}):
        refuse(platform, lambda: patch(platform, "main", {"service_id": SERVICE, **more}), 400, what=str(more))


@row("UPD-8", "invalid parameters of an update are answered 400")
def _(platform):
    shared(platform)
    for fields in ({"node_count": 0}, {"node_count": 2.5}, {"node_count": "3"}, {"node_count": 99}, {"nodes": 1},
                   {"cells": ["nowhere", "held-1"]}, {"cells": ["held-1"]}, {"cells": "held-1"}, {"cells": [1, 2]}):
        refuse(platform, lambda: patch(platform, "main", update(**fields)), 400, what=str(fields))


@row("UPD-9", "an update without a plan_id leaves the plan")
def _(platform):
    shared(platform)
    expect(patch(platform, "main", update()), 200)
    equal(ask(platform, "GET", instance("main")).body["plan_id"], SINGLE, "the plan")


@row("UPD-10", "an update without parameters leaves them: two nodes do not become the plan's one")
def _(platform):
    before = shared(platform).bodies["main"]["parameters"]
    for body in ({"service_id": SERVICE}, {**ids()}, {"service_id": SERVICE, "parameters": {}}):
        with nothing_changes(platform):
            expect(patch(platform, "main", body), 200)
        equal(ask(platform, "GET", instance("main")).body["parameters"], before, "the parameters")
        equal(len(platform.admin("main")["nodes"]), 2, "the nodes")


@row("UPD-11", "a change of plan that is not declared is answered 422")
def _(platform):
    shared(platform)
    with made(platform, "x", wanted(FIXED)):
        created(platform, "x")
        refuse(platform, lambda: patch(platform, "x", {"service_id": SERVICE, "plan_id": SINGLE}), 422)
        equal(ask(platform, "GET", instance("x")).body["plan_id"], FIXED, "the plan")


@row("UPD-12", "a change of plan that is refused is explained")
def _(platform):
    shared(platform)
    with made(platform, "x", wanted(FIXED)):
        created(platform, "x")
        answer = patch(platform, "x", {"service_id": SERVICE, "plan_id": SINGLE})
        true("plan" in answer.body["description"].lower(), f"{answer.body}")


@row("UPD-13", "the same update again, while it is under way, is answered 202 with the same operation")
def _(platform):
    made_of = shared(platform)
    with nothing_changes(platform):
        answer = expect(patch(platform, "updating", made_of.update_body), 202)
    equal(answer.body["operation"], made_of.update.body["operation"], "the operation")


@row("UPD-14", "another update while one is under way is answered 422 ConcurrencyError")
def _(platform):
    shared(platform)
    for body in (update(node_count=1), {"service_id": SERVICE, "plan_id": LASTING}, update(cells=["held-2"])):
        refuse(platform, lambda: patch(platform, "updating", body), 422, error="ConcurrencyError", what=str(body))


@row("UPD-15", "an update while it is being provisioned is answered 422 ConcurrencyError")
def _(platform):
    shared(platform)
    refuse(platform, lambda: patch(platform, "held", update(cells=["held-2"])), 422, error="ConcurrencyError")


@row("UPD-16", "an update of what does not exist is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: patch(platform, "nobody", update()), 404)
    refuse(platform, lambda: patch(platform, "gone", update()), 404, 410)


@row("UPD-17", "an update to another maintenance version is answered 422 MaintenanceInfoConflict")
def _(platform):
    shared(platform)
    refuse(platform, lambda: patch(platform, "main", {
        "service_id": SERVICE, "maintenance_info": {"version": "9.9.9"}}), 422, error="MaintenanceInfoConflict")


@row("UPD-18", "no part of a refused update is applied")
def _(platform):
    shared(platform)
    seen = lambda: (ask(platform, "GET", instance("main")).body, platform.admin("main"))
    before = seen()
    for body in ({**update(node_count=1), "plan_id": "nothing"}, update(node_count=3, cells=["nowhere"]),
                 {**update(node_count=1), "maintenance_info": {"version": "9.9.9"}},
                 {**update(node_count=1, nodes=2)}, {**update(node_count=1), "context": []}):
        refuse(platform, lambda: patch(platform, "main", body), 400, 422, what=str(body),
               error="MaintenanceInfoConflict" if "maintenance_info" in body else None)
    equal(seen(), before, "the instance")


@row("UPD-19", "an update's operation is a text")
def _(platform):
    true(is_text(shared(platform).update.body["operation"]), f"{shared(platform).update.body}")


@row("UPD-20", "an update of the context alone is accepted, and kept")
def _(platform):
    with made(platform, "x"):
        created(platform, "x")
        context = {"platform": "cloudfoundry", "space_name": "renamed"}
        for query in ({}, ASYNC):
            expect(patch(platform, "x", {"service_id": SERVICE, "plan_id": SINGLE, "context": context}, query), 200)
        true("renamed" in json.dumps(platform.record("x")), "the record does not have the new context")
        context["space_name"] = "renamed again"
        expect(patch(platform, "x", {"service_id": SERVICE, "plan_id": SINGLE, "context": context,
                                     "maintenance_info": {"version": VERSION}}, {}), 200)
        true("renamed again" in json.dumps(platform.record("x")), "the record does not have the newest context")
        equal(ask(platform, "GET", instance("x")).status, 200, "fetching it")


@row("UPD-21", "previous_values are accepted")
def _(platform):
    shared(platform)
    previous = {"service_id": SERVICE, "plan_id": SINGLE, "organization_id": "org", "space_id": "space",
                "maintenance_info": {"version": VERSION}}
    expect(patch(platform, "main", {**update(), "previous_values": previous}), 200)
