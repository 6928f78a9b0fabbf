"""Rules for every request."""

import base64
import contextlib
import json
import urllib.parse

from asking import http_json
from checks import equal, json_error, nothing_changes, true
from layout import MATRIARCH, SERVICE
from offers import FIXED, SINGLE
from osb_chapters.requests import (ASYNC, Answer, ask, bind, binding, delete, expect, ids, instance, patch, put,
                                   refuse, unbind, wanted, without)
from osb_chapters.rows import row
from osb_chapters.sharing import created, made, shared
from processes import Process
from waiting import wait_until


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


@row("ALL-1", "a request without credentials is answered 401 at every endpoint")
def _(platform):
    shared(platform)
    for method, path, body in endpoints():
        refuse(platform, lambda: ask(platform, method, path, body, ASYNC, auth=None), 401, what=f"{method} {path}")
    for headers in (basic("x:y"), basic("starkandwayne:x"), basic("starkandwayne"), basic(""),
                    {"Authorization": "Basic !!!"}, {"Authorization": "Basic"}, {"Authorization": "Bearer x"},
                    {"Authorization": "Digest username=\"starkandwayne\""}, {"Authorization": ""}):
        answer = ask(platform, "GET", "/v2/catalog", headers=headers, auth=None)
        equal(answer.status, 401, f"the catalog for {headers}")


@row("ALL-2", "an unsupported version is answered 412 with the wanted one, and nothing is done")
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
    # No plan demands an application of bindings, so no bind is refused for lack of one.
    expect(bind(platform, "main", "no-app", ids()), 201)
    expect(unbind(platform, "main", "no-app", ids()), 200)


@row("ALL-11", "a request refused with 4xx leaves no trace in etcd, on the cells or in PostgreSQL")
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


@row("ALL-12", "a request answered with 5xx leaves nothing behind")
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


@row("ALL-13", "instance_usable and update_repeatable appear only with failed updates and removals")
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
