"""The Open Service Broker API 2.17, row by row of a checklist: each row is a test of its own.

A row's level is the specification's: MUST, SHOULD or MAY. The rows share a few instances, made once:

    main      two real nodes; what is refused is tried on it, and it stays as it is
    solo      one real node; its bindings end after 90 days
    held      being created, for its node does not appear
    updating  being updated, for its second node does not appear
    failed    whose creation failed, for its cell refused
    gone      removed
"""

import base64
import collections
import contextlib
import json
import re
import urllib.parse

from asking import http_json
from broker_part import ITS_OWN
from checks import connects, equal, json_error, nothing_changes, scenario, true
from layout import MATRIARCH, PLAN, SERVICE
from offers import (CLOSED, FIXED, HURRIED, LASTING, LONGEST, LONGEST_HURRIED, NEWER_VERSION, OTHER_PLAN,
                    OTHER_SERVICE, SINGLE, STRICT, VERSION)
from processes import Process, listening_below
from waiting import Failed, wait_until

PLATFORM = STRICT

# Every row that binds a broker, and how strongly.
LEVELS = {"M": "MUST", "S": "SHOULD", "Y": "MAY"}
ROWS = {f"{group}-{number}": LEVELS[level] for group, levels in {
    "ALL": "MYYYSYMMMMMSMSSSSS",
    "CAT": "MMMSMSMMMMMMMSSMYYM",
    "PRV": "MMMMSMMMMMMMMMMSSMMMMMYMS",
    "LOP": "MMMMYMMSYMMMM",
    "GIN": "MMMMYS",
    "UPD": "MMMMMMMSMMMSMMMMMMMMY",
    "BND": "MMMSMMMMMSMMMMSMMMM",
    "GBN": "MMY",
    "BLO": "MMS",
    "UNB": "MMMMMMMM",
    "DEP": "MMMMMMMSMMM",
}.items() for number, level in enumerate(levels, 1)}

COVERED = {}  # row -> title of its test
ASYNC = {"accepts_incomplete": "true"}
CODES = {"AsyncRequired", "ConcurrencyError", "RequiresApp", "MaintenanceInfoConflict"}

Answer = collections.namedtuple("Answer", "status headers body")


def row(identity, what):
    """Marks the test of a row; `what` says what holds."""
    title = f"{identity}: {what}"

    def mark(function):
        assert identity in ROWS and identity not in COVERED, identity
        COVERED[identity] = title
        return scenario(title)(function)
    return mark


def print_rows(held=None):
    """The table of rows; with the outcome of those that were run."""
    print(f"\n{'row':<8} {'level':<7} {'test':<100} {'held' if held is not None else ''}")
    for identity, level in ROWS.items():
        title = COVERED.get(identity)
        outcome = "" if held is None else {True: "yes", False: "NO", None: "not run"}[held.get(title)]
        print(f"{identity:<8} {level:<7} {(title or ': none').split(': ', 1)[1]:<100} {outcome}")


# --- requests ---------------------------------------------------------------------------------------


def instance(name, suffix=""):
    return "/v2/service_instances/" + urllib.parse.quote(name, safe="") + suffix


def binding(name, which, suffix=""):
    return instance(name, "/service_bindings/" + urllib.parse.quote(which, safe="") + suffix)


def ids(plan=SINGLE):
    return {"service_id": SERVICE, "plan_id": plan}


def wanted(plan=SINGLE, cells=None, **more):
    """A provision's body; without cells, on the first that a test can hold."""
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


# --- what the rows share ----------------------------------------------------------------------------


class Shared:
    """See the module. Made with the first row that needs it."""

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
    """An instance for a moment, on a cell that only pretends, from its 202 on."""
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
    """Inside, no role can be made, changed or dropped: what wants to waits, and everybody else can
    log in and work."""
    with contextlib.closing(platform.connect(platform.leader(name))) as connection:
        connection.autocommit = False
        connection.cursor().execute("lock table pg_catalog.pg_authid in exclusive mode")
        yield
        connection.rollback()


class Asynchronous:
    """A binding that is made, and one that is ended, while it has to wait: all that was answered."""

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


def finish(platform):
    """Removes what the rows shared."""
    platform.witnesses.clear()
    for cell in platform.held:
        cell.obey()
    names = [entry["instance_id"] for entry in platform.osb("GET", "/admin/service_instances")[2]]
    for name in names:
        platform.osb("DELETE", instance(name), None, {**platform.ids_of(name), **ASYNC})
    for name in names:
        true(platform.wait_operation(name).gone, f"{name} was not removed")
    platform.plan_of.clear()


@scenario("every row of the checklist has a test")
def complete(_):
    equal(sorted(ROWS.keys() - COVERED.keys()), [], "the rows without a test")


# --- all requests -----------------------------------------------------------------------------------


def endpoints():
    """(method, path, body) of every endpoint."""
    return [("GET", "/v2/catalog", None),
            ("PUT", instance("x"), wanted()), ("PATCH", instance("main"), {"service_id": SERVICE}),
            ("GET", instance("main"), None), ("GET", instance("main", "/last_operation"), None),
            ("DELETE", instance("main"), None),
            ("PUT", binding("main", "x"), ids()), ("GET", binding("main", "app"), None),
            ("GET", binding("main", "app", "/last_operation"), None), ("DELETE", binding("main", "app"), None)]


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@row("ALL-1", "whoever does not authenticate is answered 401 at every endpoint")
def _(platform):
    shared(platform)
    for method, path, body in endpoints():
        refuse(platform, lambda: ask(platform, method, path, body, ASYNC, auth=None), 401, what=f"{method} {path}")
    for headers in (basic("x:y"), basic("starkandwayne:x"), basic("starkandwayne"), basic(""),
                    {"Authorization": "Basic !!!"}, {"Authorization": "Basic"}, {"Authorization": "Bearer x"},
                    {"Authorization": "Digest username=\"starkandwayne\""}, {"Authorization": ""}):
        answer = ask(platform, "GET", "/v2/catalog", headers=headers, auth=None)
        equal(answer.status, 401, f"the catalog for {headers}")


@row("ALL-2", "an unsupported version is answered 412 with the one that is wanted, and nothing is done")
def _(platform):
    shared(platform)
    for version in ("1.0", "3.0", "2", "two", "-2.17", "2.17.1 or so", "2.x"):
        answer = refuse(platform, lambda: put(platform, "x", wanted(), headers={"X-Broker-API-Version": version}),
                        412, what=version)
        true("2." in answer.body["description"], f"no version in {answer.body}")
        equal(ask(platform, "GET", instance("x", "/last_operation")).status, 404, "last_operation afterwards")


@row("ALL-3", "a request without a version is answered 412")
def _(platform):
    shared(platform)
    for method, path, body in endpoints():
        with nothing_changes(platform):
            status, headers, answer = http_json(method, platform.broker_uri + path, body,
                                                auth=("starkandwayne", "starkandwayne"))
        equal(status, 412, f"{method} {path} ({answer})")
        json_error((status, headers, answer), path)


@row("ALL-4", "newer and older minor versions are served")
def _(platform):
    for version in ("2.99", "2.17", "2.16", "2.13", "2.3"):
        expect(ask(platform, "GET", "/v2/catalog", headers={"X-Broker-API-Version": version}), 200)


@row("ALL-5", "the request's identity is in the answer, also of a refusal")
def _(platform):
    shared(platform)
    identity = {"X-Broker-API-Request-Identity": "e26cee84-6b38-4456-b34e-d1a9f002c956"}
    answers = [ask(platform, "GET", "/v2/catalog", headers=identity),
               ask(platform, "GET", "/v2/catalog", headers=identity, auth=None),
               ask(platform, "GET", instance("nobody"), headers=identity),
               ask(platform, "GET", "/nowhere", headers=identity),
               put(platform, "x", "{", headers=identity),
               ask(platform, "GET", "/v2/catalog", headers={**identity, "X-Broker-API-Version": "1.0"})]
    for answer in answers:
        equal(answer.headers.get("X-Broker-API-Request-Identity"),
              identity["X-Broker-API-Request-Identity"], f"the identity with {answer.status}")


@row("ALL-6", "who asked is kept with the operation, and a malformed identity does no harm")
def _(platform):
    shared(platform)
    who = {"user_id": "683ea748-3092-4ff4-b656-39cacc4d5360"}
    header = lambda text: {"X-Broker-API-Originating-Identity": text}
    sent = "cloudfoundry " + base64.b64encode(json.dumps(who).encode()).decode()
    with made(platform, "asked-by", headers=header(sent)):
        true(who["user_id"] in json.dumps(platform.record("asked-by")["operation"]),
             lambda: f"who asked is not in {platform.record('asked-by')['operation']}")
    for text in ("cloudfoundry", "cloudfoundry !!!", "cloudfoundry e30=x", "  ", "cloudfoundry W10=",
                 "cloudfoundry " + base64.b64encode(b"\xff\x00{").decode(), "x" * 2000):
        expect(ask(platform, "GET", "/v2/catalog", headers=header(text)), 200, 400)
        expect(ask(platform, "GET", instance("nobody"), headers=header(text)), 404, 400)
        with nothing_changes(platform):
            expect(put(platform, "main", shared(platform).bodies["main"], headers=header(text)), 200, 400)


@row("ALL-7", "unknown fields in a body are ignored")
def _(platform):
    made_of = shared(platform)
    more = {"extension": {"deep": [1, None]}, "x-y": "z"}
    expect(put(platform, "main", {**made_of.bodies["main"], **more}), 200)
    expect(bind(platform, "main", "app", {**ids(), "app_guid": "a", **more}), 200)
    expect(patch(platform, "main", {"service_id": SERVICE, **more}), 200)


@row("ALL-8", "each endpoint answers with the codes of the specification")
def _(platform):
    shared(platform)
    for asked, status in (
            (lambda: put(platform, "x", without(wanted(), "plan_id")), 400),
            (lambda: put(platform, "main", wanted(FIXED)), 409),
            (lambda: put(platform, "x", wanted(), {}), 422),
            (lambda: patch(platform, "main", {"service_id": "x"}), 400),
            (lambda: patch(platform, "main", {"service_id": SERVICE}, {}), 422),
            (lambda: delete(platform, "main", ASYNC), 400),
            (lambda: delete(platform, "main", ids()), 422),
            (lambda: delete(platform, "nobody", {**ids(), **ASYNC}), 410),
            (lambda: ask(platform, "GET", instance("nobody")), 404),
            (lambda: ask(platform, "GET", instance("nobody", "/last_operation")), 404),
            (lambda: ask(platform, "GET", instance("gone", "/last_operation")), 410),
            (lambda: bind(platform, "main", "x", {}), 400),
            (lambda: bind(platform, "main", "app", {**ids(), "app_guid": "b"}), 409),
            (lambda: bind(platform, "held", "x", ids()), 422),
            (lambda: ask(platform, "GET", binding("main", "nobody")), 404),
            (lambda: ask(platform, "GET", binding("main", "nobody", "/last_operation")), 404),
            (lambda: unbind(platform, "main", "app", {}), 400),
            (lambda: unbind(platform, "main", "nobody", ids()), 410)):
        with nothing_changes(platform):
            answer = asked()
        equal(answer.status, status, f"the status ({answer.body})")
        json_error(answer, f"an answer {status}")


@row("ALL-9", "every error is a JSON object whose error and description are texts")
def _(platform):
    shared(platform)
    for asked in (lambda: ask(platform, "GET", "/"), lambda: ask(platform, "GET", "/v2"),
                  lambda: ask(platform, "POST", "/v2/catalog"), lambda: ask(platform, "GET", instance("%")),
                  lambda: ask(platform, "GET", "/v2/service_instances/%zz"),
                  lambda: ask(platform, "GET", "/v2/catalog", auth=None),
                  lambda: put(platform, "x", {**wanted(), "context": {"filler": "x" * (1 << 20)}}),
                  lambda: put(platform, "x", "{"), lambda: put(platform, "held", wanted(FIXED)),
                  lambda: patch(platform, "updating", {"service_id": SERVICE, "parameters": {"node-count": 1}})):
        with nothing_changes(platform):
            answer = asked()
        true(400 <= answer.status < 500, f"the status {answer.status}")
        json_error(answer, f"an answer {answer.status}")
        if "error" in answer.body:
            true(isinstance(answer.body["error"], str) and answer.body["error"], f"the code in {answer.body}")


@row("ALL-10", "the codes of the specification are used verbatim, each with 422")
def _(platform):
    shared(platform)
    refuse(platform, lambda: put(platform, "x", wanted(), {}), 422, error="AsyncRequired")
    refuse(platform, lambda: bind(platform, "held", "x", ids()), 422, error="ConcurrencyError")
    refuse(platform, lambda: put(platform, "x", wanted(maintenance_info={"version": "9.9.9"})), 422,
           error="MaintenanceInfoConflict")
    # An application is not demanded of any binding, so that nothing is refused for want of one.
    expect(bind(platform, "main", "no-app", ids()), 201)
    expect(unbind(platform, "main", "no-app", ids()), 200)


@row("ALL-11", "what is refused with 4xx leaves no trace in etcd, on the cells, nor in PostgreSQL")
def _(platform):
    shared(platform)
    for asked in (lambda: put(platform, "../x", {**wanted(), "service_id": "'; drop role app; --"}),
                  lambda: put(platform, "main", wanted(FIXED)),
                  lambda: patch(platform, "main", {"service_id": SERVICE, "parameters": {"node-count": 99}}),
                  lambda: patch(platform, "main", {"service_id": SERVICE, "plan_id": "x"}),
                  lambda: bind(platform, "main", "x", {**ids(), "parameters": {"read-only": "perhaps"}}),
                  lambda: bind(platform, "main", "app", {**ids(), "app_guid": "b"}),
                  lambda: unbind(platform, "main", "app", ids(FIXED)),
                  lambda: delete(platform, "main", {**ids(FIXED), **ASYNC})):
        with nothing_changes(platform):
            answer = asked()
        true(400 <= answer.status < 500, f"answered {answer.status}: {answer.body}")
    equal(platform.last_operation("main")[1]["state"], "succeeded", "the operation of main")


@row("ALL-12", "what is answered with 5xx leaves nothing behind")
def _(platform):
    shared(platform)
    config = platform.broker_configuration()
    platform.edit("broker", config)
    config["broker"]["port"] = 3010
    path = platform.secret_file("standby.yml", json.dumps(config))
    standby = Process("standby", [MATRIARCH, "broker", "--config", path], platform.directory)
    standby.start()
    uri = f"http://{platform.broker_host}:3010"
    send = lambda method, path, body=None: http_json(
        method, uri + path, body, {"X-Broker-API-Version": "2.17"}, ("starkandwayne", "starkandwayne"), 60)

    def loaded():
        with contextlib.suppress(OSError):
            return send("GET", "/healthz")[2].get("instances_loaded")
    try:
        wait_until(loaded, "the standby to have read etcd")
        for method, path, body in (
                ("PUT", instance("x") + "?accepts_incomplete=true", wanted()),
                ("PATCH", instance("main") + "?accepts_incomplete=true",
                 {"service_id": SERVICE, "parameters": {"node-count": 1}}),
                ("DELETE", instance("main") + "?" + urllib.parse.urlencode({**ids(), **ASYNC}), None),
                ("PUT", binding("main", "x"), ids()),
                ("DELETE", binding("main", "app") + "?" + urllib.parse.urlencode(ids()), None)):
            with nothing_changes(platform):
                answer = Answer(*send(method, path, body))
            equal(answer.status, 503, f"{method} at a broker that does not act ({answer.body})")
            json_error(answer, path)
            true(answer.headers.get("Retry-After", "").isdigit(), "no Retry-After with a 503")
    finally:
        standby.stop()
    expect(ask(platform, "GET", instance("x", "/last_operation")), 404)


@row("ALL-13", "instance_usable and update_repeatable stand only with failed updates and removals")
def _(platform):
    shared(platform)
    for answer in (put(platform, "x", {}), put(platform, "main", wanted(FIXED)), put(platform, "x", wanted(), {}),
                   bind(platform, "main", "x", {}), unbind(platform, "main", "app", {}),
                   ask(platform, "GET", instance("nobody")), ask(platform, "GET", instance("main", "/last_operation")),
                   ask(platform, "GET", instance("held", "/last_operation")),
                   ask(platform, "GET", instance("failed", "/last_operation"))):
        more = {"instance_usable", "update_repeatable"} & answer.body.keys()
        true(not more, f"{more} in {answer.body}")


@row("ALL-14", "every answer with a body is application/json")
def _(platform):
    shared(platform)
    answers = [ask(platform, *endpoint[:2], endpoint[2]) for endpoint in endpoints() if endpoint[0] == "GET"]
    answers += [ask(platform, "GET", "/v2/catalog", auth=None), ask(platform, "GET", "/nowhere"),
                ask(platform, "DELETE", "/v2/catalog"), put(platform, "x", "{"),
                put(platform, "main", shared(platform).bodies["main"]),
                bind(platform, "main", "app", {**ids(), "app_guid": "a"}),
                ask(platform, "GET", "/v2/catalog", headers={"X-Broker-API-Version": "1.0"}),
                put(platform, "x", {**wanted(), "context": {"filler": "x" * (1 << 20)}})]
    for answer in answers:
        true(answer.headers.get("Content-Type", "").startswith("application/json"),
             lambda: f"{answer.status}: {answer.headers.get('Content-Type')}")


@row("ALL-15", "a body that is not JSON, by its type or by its text, is answered 400 with a description")
def _(platform):
    shared(platform)
    text = json.dumps(wanted())
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "json", "multipart/form-data"):
        refuse(platform, lambda: put(platform, "x", text, headers={"Content-Type": kind}), 400, what=kind)
    for body in ("\xff", "{\"a\": \"\\ud800\"}", "{'a': 1}", "null", "1", "\"x\"", "{\"a\":1}{", "[" * 100_000):
        refuse(platform, lambda: put(platform, "x", body.encode("latin-1"), headers={
            "Content-Type": "application/json"}), 400, what=body[:20])


@row("ALL-16", "percent-encoded ids are decoded once, whatever characters they have")
def _(platform):
    shared(platform)
    for name in ("a b/c", "möbel", "%2f", "../x", "a%252fb", "'\"\\;--", "x" * 300, "🐘", "a+b", "."):
        with made(platform, name):
            created(platform, name)
            equal(ask(platform, "GET", instance(name)).status, 200, f"fetching {name!r}")
            listed = [entry["instance_id"] for entry in platform.osb("GET", "/admin/service_instances")[2]]
            true(name in listed, f"{name!r} is not among {listed}")
        expect(ask(platform, "GET", instance(name, "/last_operation")), 410)


@row("ALL-17", "answers come in time although a cell hangs")
def _(platform):
    shared(platform)
    guid = platform.guids[3]
    platform.freeze_process(platform.cell(guid))
    try:
        answer = put(platform, "hung", wanted(SINGLE, [guid]))
        expect(answer, 202)
        expect(ask(platform, "GET", instance("hung", "/last_operation")), 200)
        expect(ask(platform, "GET", instance("hung")), 404)
        expect(ask(platform, "GET", "/v2/catalog"), 200)
        expect(put(platform, "main", shared(platform).bodies["main"]), 200)
        expect(delete(platform, "hung", {**ids(), **ASYNC}), 202)
    finally:
        platform.freeze_process(platform.cell(guid), go_on=True)
    true(platform.wait_operation("hung").gone, "the instance on the cell that hung is still there")
    platform.wait_cells_seen()


@row("ALL-18", "TLS is offered")
def _(platform):
    status, _, answer = http_json("GET", platform.fronted_uri + "/v2/catalog", None,
                                  {"X-Broker-API-Version": "2.17"}, ("starkandwayne", "starkandwayne"),
                                  context=platform.tls_context)
    true(platform.fronted_uri.startswith("https:"), platform.fronted_uri)
    equal(status, 200, f"the catalog by https ({answer})")


# --- the catalog ------------------------------------------------------------------------------------


def services(platform):
    return expect(ask(platform, "GET", "/v2/catalog"), 200).body["services"]


def plans(platform):
    """(service, plan) for each plan."""
    return [(service, plan) for service in services(platform) for plan in service["plans"]]


def is_text(value):
    return isinstance(value, str) and value != ""


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


@row("CAT-3", "every plan has an id unique of all, a name unique in its service, and a description")
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


@row("CAT-7", "bindable is declared, and a plan's own word counts")
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


@row("CAT-16", "requires holds nothing that is not used")
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
                            # The tag decides where both are there (RFC 9110, 13.1.3).
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


# --- provision --------------------------------------------------------------------------------------


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


@row("PRV-19", "the catalog's maintenance version is accepted, whatever stands beside it")
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


@row("PRV-22", "what was refused does not exist")
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


# --- last_operation ---------------------------------------------------------------------------------


STATES = {"main": "succeeded", "held": "in progress", "updating": "in progress", "failed": "failed"}


def last(platform, name, **query):
    return ask(platform, "GET", instance(name, "/last_operation"), None, query)


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


@row("LOP-5", "a removal succeeded for a poll that names it, and what was removed is 410 for all others")
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


@row("LOP-8", "how an operation ended is not forgotten, not even by a broker that was killed")
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


@row("LOP-11", "instance_usable and update_repeatable do not stand with what did not fail")
def _(platform):
    shared(platform)
    for name in STATES:
        more = {"instance_usable", "update_repeatable"} & last(platform, name).body.keys()
        true(not more, f"{more} with {name}")


@row("LOP-12", "the first poll after a 202 never tells of the operation before")
def _(platform):
    answer = shared(platform).at_once
    equal((answer.status, answer.body["state"]), (200, "in progress"), "the poll after the update's 202")


@row("LOP-13", "last_operation too needs a version and credentials")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", instance("main", "/last_operation"), auth=None), 401)
    refuse(platform, lambda: ask(platform, "GET", instance("main", "/last_operation"), headers={
        "X-Broker-API-Version": "1.0"}), 412)


# --- fetching an instance ---------------------------------------------------------------------------


@row("GIN-1", "an instance can be fetched as soon as it is there")
def _(platform):
    expect(shared(platform).fetched_at_once, 200)


@row("GIN-2", "fetching what does not exist is answered 404")
def _(platform):
    shared(platform)
    refuse(platform, lambda: ask(platform, "GET", instance("nobody")), 404)
    refuse(platform, lambda: ask(platform, "GET", instance("gone")), 404)


@row("GIN-3", "fetching what is being provisioned, or could not be, is answered 404")
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


# --- update -----------------------------------------------------------------------------------------


def update(**parameters):
    return {"service_id": SERVICE, "parameters": {
        name.replace("_", "-"): value for name, value in parameters.items()}}


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


@row("UPD-18", "of an update that is refused nothing is applied")
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


# --- bind -------------------------------------------------------------------------------------------


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


@row("BND-11", "no application is demanded: a binding without one works, and nothing says RequiresApp")
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


# --- fetching bindings, their operations, and their end ---------------------------------------------


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


@row("BLO-1", "last_operation of a binding tells how far its making and its ending are")
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


@row("BLO-3", "how a binding's operation ended is not forgotten")
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


@row("UNB-2", "an end that is under way is answered 202, again and again with the same operation")
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


@row("UNB-4", "the end of what does not exist is answered 410")
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


@row("UNB-7", "the end of a binding that is being made is refused with ConcurrencyError, or takes its place")
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


# --- deprovision ------------------------------------------------------------------------------------


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


@row("DEP-6", "a removal is accepted while another operation is under way, and takes its place")
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
    # Cleaning goes on; whoever asks again may wait for its end.
    answer = delete(platform, "stuck", {**ids(HURRIED), **ASYNC})
    expect(answer, 202, 410)
    wait_until(lambda: last(platform, "stuck").status == 410, "the removal to be finished after all")
    true("stuck" not in cell.nodes.values(), "its node still runs")


@row("DEP-9", "after a removal during a provision, last_operation tells of the removal")
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
        # The provision is over: sent again it is refused rather than taken up.
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
