"""Fetching an instance."""

import json

from checks import equal, json_error, true
from layout import SERVICE
from offers import VERSION
from osb_chapters.requests import ask, expect, ids, instance, patch, refuse
from osb_chapters.rows import row
from osb_chapters.sharing import created, made, shared


@row("GIN-1", "an instance can be fetched as soon as it is there")
def _(platform):
    expect(shared(platform).fetched_at_once, 200)


@row("GIN-2", "fetching what does not exist is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", instance("nobody")), 404)
    refuse(platform, lambda: ask(platform, "GET", instance("gone")), 404)


@row("GIN-3", "fetching an instance that is being provisioned, or whose provision failed, is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", instance("held")), 404)
    refuse(platform, lambda: ask(platform, "GET", instance("failed")), 404)


@row("GIN-4", "fetching what is being updated works, or is answered 422 ConcurrencyError")
def _(platform):
    shared(platform)
    answer = expect(ask(platform, "GET", instance("updating")), 200, 422)
    if answer.status == 422:
        json_error(answer, "fetching", "ConcurrencyError")


@row("GIN-5", "a fetched instance has its service, plan, parameters and maintenance version, and no secrets")
def _(platform):
    body = ask(platform, "GET", instance("main")).body
    sent = shared(platform).bodies["main"]
    equal((body["service_id"], body["plan_id"], body["parameters"]),
          (SERVICE, sent["plan_id"], sent["parameters"]), "what was fetched")
    equal(body["maintenance_info"]["version"], VERSION, "the maintenance version")
    true("password" not in json.dumps(body).lower(), f"a password in {body}")
    asked = ask(platform, "GET", instance("main"), None, ids())
    equal(asked.body, body, "with the ids in the query")


@row("GIN-6", "a fetched instance shows what an update changed")
def _(platform):
    with made(platform, "x"):
        created(platform, "x")
        parameters = {"node-count": 1, "cells": ["held-1", "held-2"]}
        answer = expect(patch(platform, "x", {"service_id": SERVICE, "parameters": parameters}), 200, 202)
        if answer.status == 202:
            platform.wait_operation("x").must_succeed()
        equal(ask(platform, "GET", instance("x")).body["parameters"], parameters, "the parameters")
