"""Deprovisioning."""

from checks import connects, equal, true
from layout import SERVICE
from offers import HURRIED, LASTING, SINGLE
from osb_chapters.requests import (ASYNC, ask, bind, delete, expect, ids, instance, is_text, last, patch, put,
                                   refuse, update, wanted)
from osb_chapters.rows import row
from osb_chapters.sharing import created, made, shared
from processes import listening_below
from waiting import wait_until


@row("DEP-1", "no removal is answered as if it were done within the request: there is no 200")
def _(platform):
    expect(shared(platform).removal, 202)


@row("DEP-2", "a removal that is under way is answered 202, again and again with the same operation")
def _(platform):
    shared(platform)
    cell = platform.held[1]
    expect(put(platform, "leaving", wanted(cells=["held-2"])), 202)
    created(platform, "leaving")
    cell.refuses_stop.add("leaving")
    try:
        first = expect(delete(platform, "leaving", {**ids(), **ASYNC}), 202)
        for _ in range(3):
            again = expect(delete(platform, "leaving", {**ids(), **ASYNC}), 202)
            equal(again.body["operation"], first.body["operation"], "the operation")
        equal(last(platform, "leaving").body["state"], "in progress", "the state")
        true("leaving" in cell.nodes.values(), "the node is gone although the cell refuses")
    finally:
        cell.refuses_stop.discard("leaving")
    true(platform.wait_operation("leaving").gone, "it is still there")


@row("DEP-3", "a removal without service_id or plan_id is answered 400")
def _(platform):
    shared(platform)
    for query in (ASYNC, {"service_id": SERVICE, **ASYNC}, {"plan_id": SINGLE, **ASYNC},
                  {"service_id": "", "plan_id": "", **ASYNC}, {**ids("x"), **ASYNC}, {**ids(LASTING), **ASYNC}):
        refuse(platform, lambda: delete(platform, "main", query), 400, what=str(query))


@row("DEP-4", "the removal of what does not exist is answered 410")
def _(platform):
    shared(platform)
    for name in ("nobody", "gone"):
        refuse(platform, lambda: delete(platform, name, {**ids(), **ASYNC}), 410, what=name)


@row("DEP-5", "a removal without accepts_incomplete=true is answered 422 AsyncRequired")
def _(platform):
    shared(platform)
    for query in (ids(), {**ids(), "accepts_incomplete": "false"}):
        refuse(platform, lambda: delete(platform, "main", query), 422, error="AsyncRequired")


@row("DEP-6", "a removal is accepted while another operation is under way, and supersedes it")
def _(platform):
    shared(platform)
    cell = platform.held[1]
    cell.hides.add("busy")
    try:
        expect(put(platform, "busy", wanted(cells=["held-1"])), 202)
        created(platform, "busy")
        expect(patch(platform, "busy", update(node_count=2, cells=["held-1", "held-2"])), 202)
        wait_until(lambda: "busy" in cell.nodes.values(), "the second node to be started")
        expect(delete(platform, "busy", {**ids(), **ASYNC}), 202)
        true(platform.wait_operation("busy").gone, "it is still there")
    finally:
        cell.hides.discard("busy")
    true(all("busy" not in cell.nodes.values() for cell in platform.held), "a node still runs")


@row("DEP-7", "a removal removes everything: nodes, files, keys, port")
def _(platform):
    shared(platform)
    ports = [port for port in (platform.public_port("solo"), platform.read_only_port("solo")) if port]
    nodes = platform.nodes_of("solo")
    uri = expect(bind(platform, "solo", "last", ids(LASTING)), 201).body["credentials"]["uri"]
    true(connects(uri), "it was not there")
    expect(delete(platform, "solo", {**ids(LASTING), **ASYNC}), 202)
    true(platform.wait_operation("solo").gone, "it is still there")
    equal(nodes.keys() & platform.running_nodes().keys(), set(), "its nodes on the cells")
    for guid in platform.guids:
        for node in nodes:
            true(not (platform.directory / guid / "nodes" / node).exists(), f"files of {node} on {guid}")
    left = [key for key, value in platform.keys().items() if "solo" in key or "\"solo\"" in value]
    resting = [f"/routing/port/{port}" for port in ports]
    for key in resting:
        true(platform.rests(platform.keys(key)[key]), f"{key} does not rest: {platform.keys(key)}")
    left = [key for key in left if not key.startswith("/matriarch/") and key not in resting]
    equal(left, [], "its keys")
    for port in ports:
        wait_until(lambda port=port: not listens(platform, port), f"the router to let port {port} go")


def listens(platform, port):
    return f"{platform.public_host}:{port}" in listening_below(platform.octet)


@row("DEP-8", "a removal that cannot be finished is failed and names the cell, not successful")
def _(platform):
    shared(platform)
    cell = platform.held[1]
    body = wanted(HURRIED, ["held-2"])
    expect(put(platform, "stuck", body), 202)
    created(platform, "stuck")
    cell.refuses_stop.add("stuck")
    try:
        expect(delete(platform, "stuck", {**ids(HURRIED), **ASYNC}), 202)
        operation = platform.wait_operation("stuck")
        equal(operation.state, "failed", f"the state ({operation.lines})")
        true("held-2" in operation.description, f"no cell in {operation.description!r}")
        true("stuck" in cell.nodes.values(), "the node is gone although the cell refuses")
    finally:
        cell.refuses_stop.discard("stuck")
    # The removal goes on; a client that asks again can wait for its end.
    answer = delete(platform, "stuck", {**ids(HURRIED), **ASYNC})
    expect(answer, 202, 410)
    wait_until(lambda: last(platform, "stuck").status == 410, "the removal to be finished after all")
    true("stuck" not in cell.nodes.values(), "its node still runs")


@row("DEP-9", "after a removal during a provision, last_operation reports the removal")
def _(platform):
    shared(platform)
    first, second = platform.held[0], platform.held[1]
    first.hides.add("halted-2")
    first.refuses_stop.add("halted-2")
    try:
        before = expect(put(platform, "halted-2", wanted()), 202).body["operation"]
        wait_until(lambda: "halted-2" in first.nodes.values(), "the node to be started")
        answer = expect(delete(platform, "halted-2", {**ids(), **ASYNC}), 202)
        true(answer.body["operation"] != before, "the removal has the provision's operation")
        equal(last(platform, "halted-2").body["state"], "in progress", "the removal's state")
        # The provision is over: a repeated request is refused rather than resumed.
        expect(put(platform, "halted-2", wanted()), 409, 422)
    finally:
        first.refuses_stop.discard("halted-2")
    true(platform.wait_operation("halted-2").gone, "it is still there")
    first.hides.discard("halted-2")
    true(all("halted-2" not in cell.nodes.values() for cell in (first, second)), "a node still runs")


@row("DEP-10", "a removal's operation is a text of 10,000 characters at most")
def _(platform):
    answer = shared(platform).removal
    true(is_text(answer.body["operation"]) and len(answer.body["operation"]) <= 10_000, f"{answer.body}")


@row("DEP-11", "an id can be used again after its removal")
def _(platform):
    shared(platform)
    for _ in range(2):
        with made(platform, "again", wanted()):
            created(platform, "again")
            expect(ask(platform, "GET", instance("again")), 200)
        expect(last(platform, "again"), 410)
