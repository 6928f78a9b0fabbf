"""The catalog."""

import json
import re

from asking import http_json
from checks import equal, true
from layout import SERVICE
from offers import CLOSED, FIXED, HURRIED, LONGEST, LONGEST_HURRIED, OTHER_PLAN, VERSION
from osb_chapters.requests import ask, binding, expect, instance, is_text
from osb_chapters.rows import row
from osb_chapters.sharing import shared


def services(platform):
    return expect(ask(platform, "GET", "/v2/catalog"), 200).body["services"]


def plans(platform):
    """(service, plan) for each plan."""
    return [(service, plan) for service in services(platform) for plan in service["plans"]]


@row("CAT-1", "the catalog is a list of services, with 200")
def _(platform):
    true(isinstance(services(platform), list) and services(platform), "no services")


@row("CAT-2", "every service has a unique name and id, a description, bindable and plans")
def _(platform):
    found = services(platform)
    for service in found:
        true(all(is_text(service.get(name)) for name in ("id", "name", "description")), f"{service}")
        true(isinstance(service["bindable"], bool) and service["plans"], f"{service['name']}")
    for name in ("id", "name"):
        values = [service[name] for service in found]
        equal(len(set(values)), len(values), f"the number of different {name}s")


@row("CAT-3", "every plan has a globally unique id, a name unique in its service, and a description")
def _(platform):
    found = plans(platform)
    true(all(is_text(plan.get(name)) for _, plan in found for name in ("id", "name", "description")), f"{found}")
    everything = [plan["id"] for _, plan in found] + [service["id"] for service in services(platform)]
    equal(len(set(everything)), len(everything), "the number of different ids")
    names = [(service["id"], plan["name"]) for service, plan in found]
    equal(len(set(names)), len(names), "the number of different names")


@row("CAT-4", "names consist of letters, digits, periods and hyphens")
def _(platform):
    for service, plan in plans(platform):
        true(re.fullmatch(r"[A-Za-z0-9.-]+", service["name"]) and re.fullmatch(r"[A-Za-z0-9.-]+", plan["name"]),
             f"{service['name']} / {plan['name']}")


@row("CAT-5", "the catalog does not change from one query to the next")
def _(platform):
    first = ask(platform, "GET", "/v2/catalog")
    for _ in range(3):
        equal(ask(platform, "GET", "/v2/catalog").body, first.body, "the catalog")


@row("CAT-6", "no text is longer than 255 characters")
def _(platform):
    for service, plan in plans(platform):
        for value in [*service.values(), *plan.values()]:
            true(not isinstance(value, str) or len(value) <= 255, f"too long: {value}")


@row("CAT-7", "bindable is declared, and a plan's own value overrides it")
def _(platform):
    for service, plan in plans(platform):
        equal(plan["bindable"], plan["id"] != CLOSED, f"bindable of {plan['name']}")


@row("CAT-8", "plan_updateable is declared as each plan has it")
def _(platform):
    for service, plan in plans(platform):
        equal(plan["plan_updateable"], plan["id"] not in (FIXED, OTHER_PLAN), f"plan_updateable of {plan['name']}")


@row("CAT-9", "instances_retrievable is declared, and instances of every plan made here are fetched")
def _(platform):
    shared(platform)
    true(all(service["instances_retrievable"] is True for service in services(platform)), "not declared")
    for name in ("main", "solo", "updating"):
        expect(ask(platform, "GET", instance(name)), 200)


@row("CAT-10", "bindings_retrievable is declared, and a binding is fetched")
def _(platform):
    shared(platform)
    true(all(service["bindings_retrievable"] is True for service in services(platform)), "not declared")
    expect(ask(platform, "GET", binding("main", "app")), 200)


@row("CAT-11", "allow_context_updates is declared where it is supported")
def _(platform):
    for service in services(platform):
        equal(service.get("allow_context_updates", False), service["id"] == SERVICE, service["name"])


@row("CAT-12", "each plan has schemas for create, update and bind: with $schema, small and self-contained")
def _(platform):
    for _, plan in plans(platform):
        kinds = [("service_instance", "create"), ("service_instance", "update")]
        if plan["id"] != CLOSED:
            kinds.append(("service_binding", "create"))
        for part, action in kinds:
            schema = plan["schemas"][part][action]["parameters"]
            true(re.match(r"http://json-schema.org/draft-0[4-9]/schema#?$", schema.get("$schema", "")),
                 f"$schema of {plan['name']}: {schema.get('$schema')}")
            equal(schema.get("type"), "object", f"the type in {plan['name']}")
            true(len(json.dumps(schema)) <= 64 * 1024, "too large")
            for reference in re.findall(r'"\$ref": "([^"]*)"', json.dumps(schema)):
                true(reference.startswith("#"), f"an external reference: {reference}")


SEMVER = (r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
          r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")


@row("CAT-13", "maintenance_info.version is a semantic version")
def _(platform):
    for _, plan in plans(platform):
        true(re.fullmatch(SEMVER, plan["maintenance_info"]["version"]), f"{plan['maintenance_info']}")
        equal(plan["maintenance_info"]["version"], VERSION, plan["name"])


@row("CAT-14", "maintenance_info.description says what it means for users")
def _(platform):
    true(all(is_text(plan["maintenance_info"]["description"]) for _, plan in plans(platform)), "no description")


@row("CAT-15", "maximum_polling_duration is a whole number of seconds")
def _(platform):
    for _, plan in plans(platform):
        equal(plan["maximum_polling_duration"], LONGEST_HURRIED if plan["id"] == HURRIED else LONGEST,
              plan["name"])


@row("CAT-16", "requires lists only what is used")
def _(platform):
    for service in services(platform):
        equal(service.get("requires", []), [], service["name"])


@row("CAT-17", "binding_rotatable is declared for each plan")
def _(platform):
    true(all(plan["binding_rotatable"] is True for _, plan in plans(platform)), "not declared")


@row("CAT-18", "a catalog that the platform has is answered 304, by ETag and by date")
def _(platform):
    first = ask(platform, "GET", "/v2/catalog")
    tag, date = first.headers.get("ETag"), first.headers.get("Last-Modified")
    true(tag and date, f"ETag {tag}, Last-Modified {date}")
    for headers, status in (({"If-None-Match": tag}, 304), ({"If-None-Match": f'"x", {tag}'}, 304),
                            ({"If-None-Match": "*"}, 304), ({"If-None-Match": '"x"'}, 200),
                            ({"If-Modified-Since": date}, 304),
                            ({"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, 200),
                            ({"If-Modified-Since": "yesterday"}, 200),
                            # If both headers are there, the tag decides (RFC 9110, 13.1.3).
                            ({"If-None-Match": '"x"', "If-Modified-Since": date}, 200)):
        answer = ask(platform, "GET", "/v2/catalog", headers=headers)
        equal(answer.status, status, f"the catalog with {headers}")
        equal(answer.headers.get("ETag"), tag, f"the ETag of a {status}")
        equal(answer.body, "" if status == 304 else first.body, f"the body of a {status}")


@row("CAT-19", "the catalog too needs a version and credentials")
def _(platform):
    equal(ask(platform, "GET", "/v2/catalog", auth=None).status, 401, "without credentials")
    answer = http_json("GET", platform.broker_uri + "/v2/catalog", auth=("starkandwayne", "starkandwayne"))
    equal(answer[0], 412, "without a version")
