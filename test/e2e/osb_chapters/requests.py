"""Requests of the rows, and what their answers must be."""

import collections
import urllib.parse

from broker_part import ITS_OWN
from checks import json_error, nothing_changes, true
from layout import SERVICE
from offers import SINGLE

ASYNC = {"accepts_incomplete": "true"}
CODES = {"AsyncRequired", "ConcurrencyError", "RequiresApp", "MaintenanceInfoConflict"}

Answer = collections.namedtuple("Answer", "status headers body")


def instance(name, suffix=""):
    return "/v2/service_instances/" + urllib.parse.quote(name, safe="") + suffix


def binding(name, which, suffix=""):
    return instance(name, "/service_bindings/" + urllib.parse.quote(which, safe="") + suffix)


def ids(plan=SINGLE):
    return {"service_id": SERVICE, "plan_id": plan}


def wanted(plan=SINGLE, cells=None, **more):
    """A provision's body; without `cells`, for the first cell that a test can hold."""
    return {**ids(plan), "organization_guid": "org", "space_guid": "space",
            "parameters": {"cells": cells or ["held-1"]}, **more}


def without(body, *names):
    return {name: value for name, value in body.items() if name not in names}


def ask(platform, method, path, body=None, query=None, headers=None, auth=ITS_OWN):
    return Answer(*platform.osb(method, path, body, query, headers, auth, timeout=60))


def put(platform, name, body, query=ASYNC, **more):
    return ask(platform, "PUT", instance(name), body, query, **more)


def patch(platform, name, body, query=ASYNC, **more):
    return ask(platform, "PATCH", instance(name), body, query, **more)


def delete(platform, name, query, **more):
    return ask(platform, "DELETE", instance(name), None, query, **more)


def bind(platform, name, which, body, query=None, **more):
    return ask(platform, "PUT", binding(name, which), body, query, **more)


def unbind(platform, name, which, query, **more):
    return ask(platform, "DELETE", binding(name, which), None, query, **more)


def last(platform, name, **query):
    return ask(platform, "GET", instance(name, "/last_operation"), None, query)


def update(**parameters):
    return {"service_id": SERVICE, "parameters": {
        name.replace("_", "-"): value for name, value in parameters.items()}}


def expect(answer, *statuses):
    true(answer.status in statuses, lambda: f"answered {answer.status} instead of {statuses}: {answer.body}")
    return answer


def refuse(platform, asked, *statuses, error=None, what=""):
    """Asks; the answer must be an error of that status, as the specification wants it, and nothing
    may have changed."""
    with nothing_changes(platform):
        answer = asked()
    true(answer.status in statuses, lambda: f"{what} answered {answer.status} instead of {statuses}: {answer.body}")
    json_error(answer, what or "the refusal", error)
    if error is None:
        true(answer.body.get("error") not in CODES, lambda: f"{what} answered with a code: {answer.body}")
    return answer


def is_text(value):
    return isinstance(value, str) and value != ""
