"""The instances that the rows share, and others for a moment."""

import contextlib

from checks import connects, equal, true
from layout import SERVICE
from offers import LASTING, SINGLE
from osb_chapters.requests import ASYNC, ask, bind, binding, delete, expect, ids, instance, patch, put, unbind, wanted
from waiting import Failed


class Shared:
    """See the module. The instances are made for the first row that needs them."""

    def __init__(self, platform):
        self.platform = platform
        cells = platform.held[0], platform.held[1], platform.held[2]
        cells[0].hides.add("held")
        cells[1].hides.add("updating")
        cells[2].refuses_start.add("failed")
        self.accepted = {}
        self.bodies = {
            "main": wanted(SINGLE, platform.guids, context={"platform": "cloudfoundry", "space_name": "s"}),
            "solo": wanted(LASTING, platform.guids),
            "held": wanted(cells=["held-1"]),
            "updating": wanted(cells=["held-1"]),
            "failed": wanted(cells=["held-3"]),
            "gone": wanted(cells=["held-1"]),
        }
        self.bodies["main"]["parameters"]["node-count"] = 2
        for name, body in self.bodies.items():
            self.accepted[name] = expect(put(platform, name, body), 202)
            platform.plan_of[name] = body["plan_id"]
        for name in ("gone", "updating"):
            platform.wait_operation(name).must_succeed()
        self.removal = expect(delete(platform, "gone", {**ids(), **ASYNC}), 202)
        self.update_body = {"service_id": SERVICE, "parameters": {"node-count": 2, "cells": ["held-1", "held-2"]}}
        self.update = expect(patch(platform, "updating", self.update_body), 202)
        self.at_once = ask(platform, "GET", instance("updating", "/last_operation"))
        true(platform.wait_operation("gone").gone, "gone is still there")
        equal(platform.wait_operation("failed").state, "failed", "the state of what could not be made")
        for name in ("main", "solo"):
            platform.wait_operation(name).must_succeed()
        self.fetched_at_once = ask(platform, "GET", instance("main"))
        platform.wait_all_running("main", 2)
        self.bound = expect(bind(platform, "main", "app", {**ids(), "app_guid": "a"}), 201)
        platform.witnesses.append(lambda: platform.roles("main"))


def shared(platform):
    if not hasattr(platform, "shared_by_rows"):
        platform.shared_by_rows = Shared(platform)
    return platform.shared_by_rows


@contextlib.contextmanager
def made(platform, name, body=None, **more):
    """A short-lived instance on a simulated cell, from its 202 on."""
    body = body or wanted()
    answer = expect(put(platform, name, body, **more), 202)
    try:
        yield answer
    finally:
        platform.wait_operation(name)
        answer = delete(platform, name, {**ids(body["plan_id"]), **ASYNC})
        if answer.status == 202:
            platform.wait_operation(name)


def created(platform, name):
    platform.wait_operation(name).must_succeed()


@contextlib.contextmanager
def roles_locked(platform, name):
    """Inside, no role can be made, changed or dropped: such statements wait, and everybody else can log
    in and work."""
    with contextlib.closing(platform.connect(platform.leader(name))) as connection:
        connection.autocommit = False
        connection.cursor().execute("lock table pg_catalog.pg_authid in exclusive mode")
        yield
        connection.rollback()


class Asynchronous:
    """A binding that is being made, and one that is being ended, while both have to wait: all their
    answers."""

    def __init__(self, platform):
        body = {**ids(LASTING), "app_guid": "a"}
        call = lambda: bind(platform, "solo", "later", body, ASYNC)
        end = lambda: unbind(platform, "solo", "later", {**ids(LASTING), **ASYNC})
        state = lambda: ask(platform, "GET", binding("solo", "later", "/last_operation"))
        fetch = lambda: ask(platform, "GET", binding("solo", "later"))
        with roles_locked(platform, "solo"):
            self.accepted = call()
            self.during = {"state": state(), "fetch": fetch(), "again": call()}
        platform.wait_operation("solo", binding="later")
        self.after = {"state": state(), "fetch": fetch(), "state again": state()}
        with contextlib.suppress(Failed, KeyError, TypeError):
            self.worked = connects(self.after["fetch"].body["credentials"]["uri"])
        with roles_locked(platform, "solo"):
            self.ending = end()
            self.meanwhile = {"state": state(), "fetch": fetch(), "again": end()}
        self.ended = platform.wait_operation("solo", binding="later")
        self.finally_ = {"state": state(), "fetch": fetch(), "again": end()}


def asynchronous(platform):
    if not hasattr(platform, "asynchronous_by_rows"):
        shared(platform)
        platform.asynchronous_by_rows = Asynchronous(platform)
    return platform.asynchronous_by_rows
