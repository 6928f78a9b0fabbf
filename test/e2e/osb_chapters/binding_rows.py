"""Binding."""

import re

from checks import connects, equal, nothing_changes, true
from layout import SERVICE
from offers import CLOSED, LASTING, OTHER_PLAN, OTHER_SERVICE, SINGLE
from osb_chapters.requests import ask, bind, binding, expect, ids, is_text, refuse, unbind, wanted
from osb_chapters.rows import row
from osb_chapters.sharing import asynchronous, created, made, shared


@row("BND-1", "a binding is made within the request, with credentials")
def _(platform):
    answer = expect(shared(platform).bound, 201)
    true(is_text(answer.body["credentials"]["uri"]), f"no uri in {list(answer.body)}")


@row("BND-2", "a binding that is under way is answered 202, without credentials")
def _(platform):
    answer = expect(asynchronous(platform).accepted, 202)
    true("credentials" not in answer.body, "credentials in a 202")
    true(is_text(answer.body["operation"]), f"no operation in {answer.body}")


@row("BND-3", "a binding does not demand accepts_incomplete")
def _(platform):
    shared(platform)
    for query in ({}, {"accepts_incomplete": "false"}):
        expect(bind(platform, "main", "x", ids(), query), 201)
        expect(unbind(platform, "main", "x", ids()), 200)


@row("BND-4", "the same binding again is answered 200 with the same credentials")
def _(platform):
    made_of = shared(platform)
    with nothing_changes(platform):
        answer = expect(bind(platform, "main", "app", {**ids(), "app_guid": "a"}), 200)
    equal(answer.body["credentials"] == made_of.bound.body["credentials"], True, "the same credentials")


@row("BND-5", "the same binding with other attributes is answered 409")
def _(platform):
    shared(platform)
    for body in ({**ids(), "app_guid": "b"}, ids(), {**ids(), "app_guid": "a", "parameters": {"read-only": True}},
                 {**ids(), "bind_resource": {"app_guid": "c"}}):
        refuse(platform, lambda: bind(platform, "main", "app", body), 409, what=str(body))


@row("BND-6", "a binding without a service_id is answered 400")
def _(platform):
    shared(platform)
    for body in ({"plan_id": SINGLE}, {**ids(), "service_id": ""}, {**ids(), "service_id": 1}):
        refuse(platform, lambda: bind(platform, "main", "x", body), 400, what=str(body))


@row("BND-7", "a binding without a plan_id is answered 400")
def _(platform):
    shared(platform)
    for body in ({"service_id": SERVICE}, {**ids(), "plan_id": ""}, {**ids(), "plan_id": None}):
        refuse(platform, lambda: bind(platform, "main", "x", body), 400, what=str(body))


@row("BND-8", "a binding of a service or plan that is not the instance's is answered 400")
def _(platform):
    shared(platform)
    for body in ({**ids(), "service_id": "x"}, ids("x"), ids(LASTING),
                 {"service_id": OTHER_SERVICE, "plan_id": OTHER_PLAN}):
        refuse(platform, lambda: bind(platform, "main", "x", body), 400, what=str(body))


@row("BND-9", "a malformed binding is answered 400")
def _(platform):
    shared(platform)
    for body in ("{", "", "[]", "null"):
        refuse(platform, lambda: bind(platform, "main", "x", body, headers={"Content-Type": "application/json"}),
               400, what=body)


@row("BND-10", "invalid parameters of a binding are refused with a description that names the field")
def _(platform):
    shared(platform)
    for parameters, field in (({"read-only": "yes"}, "read-only"), ({"read-only": 1}, "read-only"),
                              ({"read-only": None}, "read-only"), ({"nothing": True}, "nothing"),
                              ({"node-count": 1}, "node-count")):
        answer = refuse(platform, lambda: bind(platform, "main", "x", {**ids(), "parameters": parameters}), 400,
                        what=str(parameters))
        true(field in answer.body["description"], f"no {field} in {answer.body}")
    for more in ({"parameters": []}, {"bind_resource": "x"}, {"app_guid": 1}, {"context": []},
                 {"predecessor_binding_id": 1}):
        refuse(platform, lambda: bind(platform, "main", "x", {**ids(), **more}), 400, what=str(more))


@row("BND-11", "no application is required: a binding without one works, and nothing says RequiresApp")
def _(platform):
    shared(platform)
    for which, body in (("x", ids()), ("y", {**ids(), "bind_resource": {}})):
        answer = expect(bind(platform, "main", which, body), 201)
        true(connects(answer.body["credentials"]["uri"]), "its credentials do not work")
        expect(unbind(platform, "main", which, ids()), 200)


@row("BND-12", "a binding while the instance is being worked on is answered 422 ConcurrencyError")
def _(platform):
    shared(platform)
    refuse(platform, lambda: bind(platform, "held", "x", ids()), 422, error="ConcurrencyError")


@row("BND-13", "a binding of what does not exist is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: bind(platform, "nobody", "x", ids()), 404)
    refuse(platform, lambda: bind(platform, "gone", "x", ids()), 404, 410)


@row("BND-14", "the credentials work")
def _(platform):
    credentials = shared(platform).bound.body["credentials"]
    for name in ("uri", "jdbcUrl", "host", "name", "username", "password"):
        true(is_text(credentials[name]), f"{name} is missing")
    true(connects(credentials["uri"]), "the credentials do not work")
    equal(int(credentials["port"]), platform.public_port("main"), "the port")


@row("BND-15", "endpoints say where the database is")
def _(platform):
    body = shared(platform).bound.body
    equal(body["endpoints"], [{"host": body["credentials"]["host"], "ports": [str(platform.public_port("main"))],
                               "protocol": "tcp"}], "the endpoints")


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"


@row("BND-16", "expires_at and renew_before are times of ISO 8601, in this order")
def _(platform):
    shared(platform)
    answer = expect(bind(platform, "solo", "timed", ids(LASTING)), 201)
    times = answer.body["metadata"]
    for name in ("expires_at", "renew_before"):
        true(re.fullmatch(TIME, times[name]), f"{name} is {times[name]}")
    true(times["renew_before"] <= times["expires_at"], f"{times}")
    equal(ask(platform, "GET", binding("solo", "timed")).body["metadata"], times, "the fetched ones")
    expect(unbind(platform, "solo", "timed", ids(LASTING)), 200)


@row("BND-17", "a binding can follow another, and both work until the old one is ended")
def _(platform):
    old = shared(platform).bound.body["credentials"]
    answer = expect(bind(platform, "main", "next", {**ids(), "app_guid": "a", "predecessor_binding_id": "app"}), 201)
    new = answer.body["credentials"]
    true(old["username"] != new["username"] and old["password"] != new["password"], "the credentials are the same")
    true(connects(old["uri"]) and connects(new["uri"]), "not both work")
    expect(unbind(platform, "main", "next", ids()), 200)
    refuse(platform, lambda: bind(platform, "main", "x", {**ids(), "predecessor_binding_id": "nobody"}), 400, 404, 422)


@row("BND-18", "no answer holds what the catalog does not require")
def _(platform):
    body = shared(platform).bound.body
    for name in ("syslog_drain_url", "route_service_url", "volume_mounts"):
        true(not body.get(name), f"{name} in the answer")


@row("BND-19", "a binding of a plan without bindings is refused")
def _(platform):
    shared(platform)
    with made(platform, "x", wanted(CLOSED)):
        created(platform, "x")
        refuse(platform, lambda: bind(platform, "x", "app", ids(CLOSED)), 400, 422)
