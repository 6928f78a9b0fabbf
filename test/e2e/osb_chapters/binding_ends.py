"""Fetching bindings, their operations, and their end."""

from checks import connects, equal, json_error, true
from layout import SERVICE
from offers import LASTING, OTHER_PLAN, OTHER_SERVICE, SINGLE
from osb_chapters.requests import ASYNC, ask, bind, binding, expect, ids, refuse, unbind
from osb_chapters.rows import row
from osb_chapters.sharing import asynchronous, roles_locked, shared


@row("GBN-1", "a binding can be fetched as soon as it is made, with its credentials")
def _(platform):
    made_of = shared(platform)
    answer = expect(ask(platform, "GET", binding("main", "app")), 200)
    true(answer.body["credentials"] == made_of.bound.body["credentials"], "other credentials")
    later = asynchronous(platform)
    expect(later.after["fetch"], 200)
    true(later.worked, "the credentials of the binding that had to wait do not work")


@row("GBN-2", "fetching a binding that does not exist, or is being made, is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", binding("main", "nobody")), 404)
    refuse(platform, lambda: ask(platform, "GET", binding("nobody", "app")), 404)
    refuse(platform, lambda: ask(platform, "GET", binding("gone", "app")), 404)
    equal(asynchronous(platform).during["fetch"].status, 404, "fetching while it is being made")
    equal(asynchronous(platform).finally_["fetch"].status, 404, "fetching after its end")


@row("GBN-3", "a fetched binding has its parameters, endpoints and times")
def _(platform):
    shared(platform)
    body = {**ids(LASTING), "parameters": {"read-only": True}}
    made_so = expect(bind(platform, "solo", "fetched", body), 201).body
    answer = expect(ask(platform, "GET", binding("solo", "fetched")), 200).body
    equal(answer["parameters"], {"read-only": True}, "the parameters")
    for name in ("endpoints", "metadata"):
        equal(answer[name], made_so[name], name)
    expect(unbind(platform, "solo", "fetched", ids(LASTING)), 200)


@row("BLO-1", "last_operation of a binding reports the progress of a bind and of an unbind")
def _(platform):
    later = asynchronous(platform)
    for answer, state in ((later.during["state"], "in progress"), (later.after["state"], "succeeded"),
                          (later.meanwhile["state"], "in progress")):
        equal((answer.status, answer.body.get("state")), (200, state), "last_operation of the binding")
    true(later.ended.gone, f"the end was told as {later.ended.lines}")


@row("BLO-2", "last_operation of an unknown binding is answered 404")
def _(platform):
    shared(platform)
    for path in (binding("main", "nobody", "/last_operation"), binding("nobody", "app", "/last_operation")):
        refuse(platform, lambda: ask(platform, "GET", path), 404)


@row("BLO-3", "the result of a binding's operation is kept")
def _(platform):
    later = asynchronous(platform)
    named = ask(platform, "GET", binding("solo", "later", "/last_operation"), None,
                {"operation": later.ending.body["operation"]})
    equal((named.status, named.body.get("state")), (200, "succeeded"), "the poll that names the unbind")
    expect(bind(platform, "main", "short", ids()), 201)
    expect(unbind(platform, "main", "short", ids()), 200)
    refuse(platform, lambda: ask(platform, "GET", binding("main", "short", "/last_operation")), 410)
    equal(later.after["state again"].body, later.after["state"].body, "the second poll")
    equal(ask(platform, "GET", binding("solo", "later", "/last_operation")).status,
          later.finally_["state"].status, "the poll after its end")


@row("UNB-1", "a binding is ended within the request, with 200")
def _(platform):
    shared(platform)
    expect(bind(platform, "main", "x", ids()), 201)
    equal(expect(unbind(platform, "main", "x", ids()), 200).body, {}, "the answer")


@row("UNB-2", "an unbind that is under way is answered 202, again and again with the same operation")
def _(platform):
    later = asynchronous(platform)
    expect(later.ending, 202)
    expect(later.meanwhile["again"], 202)
    equal(later.meanwhile["again"].body.get("operation"), later.ending.body.get("operation"), "the operation")


@row("UNB-3", "an unbind without service_id or plan_id is answered 400")
def _(platform):
    shared(platform)
    for query in ({}, {"service_id": SERVICE}, {"plan_id": SINGLE}, {"service_id": "", "plan_id": SINGLE}):
        refuse(platform, lambda: unbind(platform, "main", "app", query), 400, what=str(query))


@row("UNB-4", "an unbind of what does not exist is answered 410")
def _(platform):
    shared(platform)
    for name, which in (("main", "nobody"), ("nobody", "app"), ("gone", "app")):
        refuse(platform, lambda: unbind(platform, name, which, ids()), 410, what=name)
    equal(asynchronous(platform).finally_["again"].status, 410, "the second end")


@row("UNB-5", "the credentials of a binding that was ended do not work")
def _(platform):
    shared(platform)
    credentials = expect(bind(platform, "main", "x", ids()), 201).body["credentials"]
    true(connects(credentials["uri"]), "they never worked")
    expect(unbind(platform, "main", "x", ids()), 200)
    true(not connects(credentials["uri"]), "they still work")
    true(credentials["username"] not in [role[0] for role in platform.roles("main")], "its role is still there")


@row("UNB-6", "an unbind does not demand accepts_incomplete")
def _(platform):
    shared(platform)
    for query in ({}, {"accepts_incomplete": "false"}):
        expect(bind(platform, "main", "x", ids()), 201)
        expect(unbind(platform, "main", "x", {**ids(), **query}), 200)


@row("UNB-7", "an unbind of a binding that is being made is refused with ConcurrencyError, or supersedes the bind")
def _(platform):
    shared(platform)
    before = platform.roles("solo")
    with roles_locked(platform, "solo"):
        first = expect(bind(platform, "solo", "crossed", ids(LASTING), ASYNC), 202).body["operation"]
        answer = expect(unbind(platform, "solo", "crossed", {**ids(LASTING), **ASYNC}), 200, 202, 422)
        if answer.status == 422:
            json_error(answer, "the unbind while it is being made", "ConcurrencyError")
        elif answer.status == 202:
            true(answer.body["operation"] != first, "the end has the operation of the beginning")
            again = bind(platform, "solo", "crossed", ids(LASTING), ASYNC)
            equal(again.status, 422, f"the bind while its end is under way ({again.body})")
            json_error(again, "the bind while its end is under way", "ConcurrencyError")
    if answer.status != 200:
        platform.wait_operation("solo", binding="crossed")
    if answer.status == 422:
        expect(unbind(platform, "solo", "crossed", ids(LASTING)), 200)
    expect(ask(platform, "GET", binding("solo", "crossed")), 404)
    expect(unbind(platform, "solo", "crossed", ids(LASTING)), 410)
    equal(platform.roles("solo"), before, "the roles")


@row("UNB-8", "an unbind with another service or plan is answered 400")
def _(platform):
    shared(platform)
    for query in (ids("x"), ids(LASTING), {**ids(), "service_id": "x"},
                  {"service_id": OTHER_SERVICE, "plan_id": OTHER_PLAN}):
        refuse(platform, lambda: unbind(platform, "main", "app", query), 400, what=str(query))
