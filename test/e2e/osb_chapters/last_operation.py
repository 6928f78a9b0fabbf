"""Polling the operation of an instance."""

from checks import equal, true
from layout import SERVICE
from offers import FIXED
from osb_chapters.requests import ask, expect, ids, instance, is_text, last, refuse
from osb_chapters.rows import row
from osb_chapters.sharing import shared


STATES = {"main": "succeeded", "held": "in progress", "updating": "in progress", "failed": "failed"}


@row("LOP-1", "last_operation is answered 200 with a state")
def _(platform):
    shared(platform)
    for name in STATES:
        true("state" in expect(last(platform, name), 200).body, f"no state of {name}")


@row("LOP-2", "the state is one of the three words")
def _(platform):
    shared(platform)
    for name, state in STATES.items():
        equal(last(platform, name).body["state"], state, f"the state of {name}")


@row("LOP-3", "a description is a text that says something")
def _(platform):
    shared(platform)
    for name in STATES:
        true(is_text(last(platform, name).body.get("description")), f"{last(platform, name).body}")


@row("LOP-4", "last_operation of what never existed is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: last(platform, "nobody"), 404)


@row("LOP-5", "a poll that names the removal gets success, any other poll gets 410")
def _(platform):
    made_of = shared(platform)
    refuse(platform, lambda: last(platform, "gone"), 410)
    refuse(platform, lambda: ask(platform, "GET", instance("gone", "/last_operation"), None, {"operation": "x"}), 410)
    removal = {"operation": made_of.removal.body["operation"], **ids()}
    named = expect(ask(platform, "GET", instance("gone", "/last_operation"), None, removal), 200)
    equal(named.body["state"], "succeeded", "the state")


@row("LOP-6", "a malformed last_operation is answered 400")
def _(platform):
    shared(platform)
    for path in ("/v2/service_instances/%zz/last_operation", "/v2/service_instances/%/last_operation",
                 "/v2/service_instances/a%00b/last_operation"):
        refuse(platform, lambda: ask(platform, "GET", path), 400, what=path)


@row("LOP-7", "a failed operation is answered 200 with what failed")
def _(platform):
    shared(platform)
    answer = expect(last(platform, "failed"), 200)
    equal(answer.body["state"], "failed", "the state")
    true("held-3" in answer.body["description"], f"the description does not tell the cell: {answer.body}")


@row("LOP-8", "the result of an operation is kept, even if the broker is killed")
def _(platform):
    shared(platform)
    before = {name: last(platform, name)[::2] for name in ("main", "failed", "gone")}
    for _ in range(3):
        equal({name: last(platform, name)[::2] for name in before}, before, "the later polls")
    platform.restart_broker(kill9=True)
    equal({name: last(platform, name)[::2] for name in before}, before, "the polls after a restart")
    equal(last(platform, "held").body["state"], "in progress", "what was under way")


@row("LOP-9", "Retry-After comes while an operation is in progress, and not after")
def _(platform):
    shared(platform)
    for name, state in STATES.items():
        after = last(platform, name).headers.get("Retry-After")
        if state == "in progress":
            true(after and after.isdigit() and int(after) > 0, f"Retry-After of {name}: {after}")
        else:
            equal(after, None, f"Retry-After of {name}")


@row("LOP-10", "a poll may name its operation and the plan, also the one before an update")
def _(platform):
    made_of = shared(platform)
    expect(last(platform, "held", **ids(), operation=made_of.accepted["held"].body["operation"]), 200)
    expect(last(platform, "updating", **ids(), operation=made_of.update.body["operation"]), 200)
    expect(last(platform, "main", operation=made_of.accepted["main"].body["operation"]), 200)
    expect(last(platform, "main", service_id=SERVICE, plan_id=FIXED), 200)


@row("LOP-11", "instance_usable and update_repeatable do not appear unless something failed")
def _(platform):
    shared(platform)
    for name in STATES:
        more = {"instance_usable", "update_repeatable"} & last(platform, name).body.keys()
        true(not more, f"{more} with {name}")


@row("LOP-12", "the first poll after a 202 never reports the previous operation")
def _(platform):
    answer = shared(platform).at_once
    equal((answer.status, answer.body["state"]), (200, "in progress"), "the poll after the update's 202")


@row("LOP-13", "last_operation too needs a version and credentials")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", instance("main", "/last_operation"), auth=None), 401)
    refuse(platform, lambda: ask(platform, "GET", instance("main", "/last_operation"), headers={
        "X-Broker-API-Version": "1.0"}), 412)
