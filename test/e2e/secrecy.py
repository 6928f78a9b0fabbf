"""Secrets: where they may be, and that they are nowhere else."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess

from asking import http_json, password_for
from checks import connects, equal, names_in, scenario, true
from layout import API_VERSION, MATRIARCH
from processes import command_of, processes_of
from tenants import GUARDED
from waiting import Failed, wait_until

PLATFORM = GUARDED

NEW_KEY = password_for("a newer key") * 2
SENT_BY_USER = "a-word-that-a-user-sent"
WRONG_PASSWORD = "a-password-that-is-wrong"


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()


def configured(platform):
    """The secrets of the platform's operator: name -> text."""
    found = {"the platform's password": platform.auth[1], "the operator's password": platform.admin_auth[1],
             "the platform's token": platform.token, "the cells' password": platform.cell_credentials[1],
             "the key": platform.first_key, "the newer key": NEW_KEY}
    for user in ("root", "broker", *platform.guids, "router"):
        found[f"etcd's password of {user}"] = platform.etcd_password(user)
    for what, pair in (("the platform", platform.auth), ("the operator", platform.admin_auth),
                       ("the cells", platform.cell_credentials)):
        found[f"the header of {what}"] = base64.b64encode(":".join(pair).encode()).decode()
    return found


def of_node(platform, node):
    """What root can read of a node on a cell: its cluster's passwords."""
    found = {}

    def collect(value, where):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, (dict, list)):
                collect(inner, f"{where}.{name}")
            elif str(name).lower().endswith("password") and inner:
                found[f"{where}.{name} of {node}"] = inner
    collect(platform.node_configuration(node), "patroni.yml")
    collect(json.loads((platform.node_files(node) / "node.json").read_text()), "node.json")
    return found


def shows(text, secrets):
    """The secrets that are in a text (or in bytes)."""
    data = text.encode() if isinstance(text, str) else text
    return sorted(what for what, secret in secrets.items() if secret.encode() in data)


def must_not_show(text, secrets, where):
    found = shows(text, secrets)
    true(not found, lambda: f"{where} shows {', '.join(found)}")


@scenario("no secret is in a log, the audit trail, etcd, a command line, an answer or a file that others read")
def nowhere(platform):
    answers = []
    ask = lambda *asked, **more: answers.append((asked[:2], platform.osb(*asked, **more))) or answers[-1][1]
    who = {"X-Broker-API-Originating-Identity":
           "cloudfoundry " + base64.b64encode(b'{"user_id": "the-user-who-asked"}').decode()}
    path = platform.instance_path("hidden")
    asynchronous = {"accepts_incomplete": "true"}
    body = {**platform.ids_of("hidden"), "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": 2}}
    equal(ask("PUT", path, body, asynchronous, headers=who)[0], 202, "the provision")
    platform.wait_operation("hidden").must_succeed()
    platform.wait_all_running("hidden", 2)
    nodes = set(platform.nodes_of("hidden"))
    secrets = configured(platform)
    for node in nodes:
        secrets.update(of_node(platform, node))

    for name, more in (("app", {}), ("reader", {"parameters": {"read-only": True}}), ("ended", {"app_guid": "a"})):
        secrets[f"the password of binding {name}"] = platform.bind("hidden", name, **more)["password"]
    platform.unbind("hidden", "ended")
    platform.update("hidden", node_count=1)
    platform.wait_operation("hidden").must_succeed()
    platform.update("hidden", node_count=2)
    platform.wait_operation("hidden").must_succeed()
    for node in platform.nodes_of("hidden"):
        secrets.update(of_node(platform, node))
    equal(len(set(secrets.values())) > 15, True, f"enough secrets: {sorted(secrets)}")

    # Errors may say much, but no secret.
    binding = platform.binding_path("hidden", "app")
    ask("PUT", path, {**body, "space_guid": "other"}, asynchronous)
    ask("PUT", path, {**body, "parameters": {"password": SENT_BY_USER}}, asynchronous)
    ask("PATCH", path, {"service_id": body["service_id"], "parameters": {"password": SENT_BY_USER}}, asynchronous)
    ask("PUT", binding, {**platform.ids_of("hidden"), "app_guid": "other"})
    ask("PUT", binding, {**platform.ids_of("hidden"), "parameters": {"password": SENT_BY_USER}})
    ask("DELETE", binding, None, {"service_id": "x", "plan_id": "y"})
    ask("DELETE", platform.binding_path("hidden", "nobody"), None, platform.ids_of("hidden"))
    for auth in (("starkandwayne", WRONG_PASSWORD), WRONG_PASSWORD):
        equal(ask("GET", "/v2/catalog", auth=auth)[0], 401, "a wrong login")
        equal(ask("PUT", path, body, asynchronous, auth=auth)[0], 401, "a wrong login")
    for shown in ("/v2/catalog", path, path + "/last_operation", "/admin/cells", "/admin/service_instances",
                  "/admin/service_instances/hidden", "/healthz", binding + "/last_operation"):
        status, _, answer = ask("GET", shown)
        equal(status, 200, f"GET {shown} ({answer})")
        true("password" not in {name.lower() for name in names_in(answer)}, f"GET {shown} has a password")
    for words in (["show-cells"], ["service-status"], ["service-status", "hidden"],
                  ["service-status", "hidden", "--json"]):
        done = subprocess.run([MATRIARCH, *words], capture_output=True, timeout=60, env={
            **os.environ, "BROKER_URI": platform.broker_uri_with_credentials})
        equal(done.returncode, 0, f"{words}: {done.stderr.decode()}")
        must_not_show(done.stdout + done.stderr, secrets, f"matriarch {' '.join(words)}")

    for (method, where), (status, headers, answer) in answers:
        must_not_show(json.dumps(answer) + str(headers), secrets, f"the answer {status} to {method} {where}")
    for key, value in platform.keys().items():
        must_not_show(key + value, secrets, f"etcd's key {key}")
    for pid in processes_of(platform.directory):
        must_not_show("\0".join(command_of(pid)), secrets, f"the command line of {pid} ({command_of(pid)[:1]})")
        with contextlib.suppress(OSError):
            mode = pathlib.Path(f"/proc/{pid}/environ").stat().st_mode
            true(mode & 0o077 == 0, f"others read the environment of {pid}")
    secrets |= {"what a user sent": SENT_BY_USER, "a wrong password": WRONG_PASSWORD,
                "a wrong login": base64.b64encode(f"starkandwayne:{WRONG_PASSWORD}".encode()).decode()}
    look_into_files(platform, secrets)
    audited(platform)
    for name in ("app", "reader"):
        platform.unbind("hidden", name)
    look_into_files(platform, secrets)  # including what an unbind has logged
    platform.remove("hidden")


def look_into_files(platform, secrets):
    """Logs and the audit trail hold no secret; any other file that does is its owner's alone."""
    own_data = re.compile(r"/nodes/[^/]+/home/data/(?!log|pg_log)|/etcd/")
    logs = 0
    for path in platform.directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not path.is_file() or path.is_symlink() or own_data.search(str(path)):
                continue
            found = shows(path.read_bytes(), secrets)
            is_log = path.suffix in (".log", ".jsonl") or path.name == "log" or "/log/" in str(path)
            logs += is_log
            true(not (found and is_log), lambda: f"{path} shows {', '.join(found)}")
            mode = path.stat().st_mode & 0o777
            true(not (found and mode & 0o077), lambda: f"{path} has mode {mode:o} and shows {', '.join(found)}")
    true(logs > 8, f"only {logs} logs were found")
    for node in platform.nodes_of("hidden"):
        for path in platform.node_files(node).rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                # Programs are no secret: the node's copy of PostgreSQL's bin directory is links and
                # a script.
                if path.is_file() and path.parent.name != "bin":
                    true(path.stat().st_mode & 0o077 == 0, f"others read {path}")
                elif path.is_dir() and path.parent == platform.node_files(node):
                    true(path.stat().st_mode & 0o007 == 0, f"others enter {path}")


def audited(platform):
    """The audit trail: one JSON line for each change, asked for or refused."""
    # A separate thread writes the trail: the last lines may come a moment later.
    read = lambda: [json.loads(line) for line in platform.audit_file.read_text().rpartition("\n")[0].splitlines()]
    status_of = lambda line: line["result"]["status"] if isinstance(line["result"], dict) else None

    def all_told():
        lines = read()
        before = [number for number, line in enumerate(lines)
                  if line.get("instance_id") == "hidden" and status_of(line) == 410]
        return lines if before and any(status_of(line) == 401 for line in lines[before[-1]:]) else None
    lines = wait_until(all_told, "the line of a wrong login, the last")
    hidden = [line for line in lines if line.get("instance_id") == "hidden"]
    # The end of an operation that outlasted its request has a line of its own.
    for action in ("end of provision", "end of update"):
        true(any(line["action"] == action and line["result"] == "succeeded" for line in hidden), f"no line of {action}")
    mine = [line for line in hidden if isinstance(line["result"], dict)]
    for action, status in (("provision", 202), ("bind", 201), ("unbind", 200), ("update", 202), ("provision", 409),
                           ("provision", 400), ("update", 400), ("bind", 409), ("unbind", 400), ("unbind", 410)):
        found = [line for line in mine if line["action"] == action and line["result"]["status"] == status]
        true(found, f"no line of {action} with {status}")
        for line in found:
            for name in ("time", "who", "duration_ms"):
                true(name in line, f"no {name} in {line}")
            equal(line["who"]["user"], platform.auth[0], "the user")
            true(line["who"]["address"].startswith("127."), f"the address {line['who']['address']}")
    first = next(line for line in mine if line["action"] == "provision")
    true("the-user-who-asked" in json.dumps(first["who"]), f"who asked is not in {first['who']}")
    equal(first["parameters"], {"node-count": 2}, "the parameters")


@scenario("the platform's and the operators' credentials and tokens open only their own paths")
def credentials(platform):
    for path, own, other in (("/v2/catalog", platform.auth, platform.admin_auth),
                             ("/admin/cells", platform.admin_auth, platform.auth)):
        equal(platform.osb("GET", path, auth=own)[0], 200, f"{path} as {own[0]}")
        equal(platform.osb("GET", path, auth=other)[0], 401, f"{path} as {other[0]}")
    equal(platform.osb("GET", "/v2/catalog", auth=platform.token)[0], 200, "the catalog with a token")
    equal(platform.osb("GET", "/admin/cells", auth=platform.token)[0], 401, "the cells with the platform's token")
    equal(platform.osb("GET", "/v2/catalog", auth=(platform.auth[0], platform.token))[0], 401,
          "the token as a password")
    equal(platform.osb("GET", "/v2/catalog", auth=platform.auth[1])[0], 401, "the password as a token")


def sealing_keys(platform):
    """The ids of the keys with which something in etcd is sealed."""
    return set(re.findall(r"sealed:([0-9a-f]+):", "\n".join(platform.keys().values())))


@scenario("a new key replaces the old one: list both, re-encrypt, remove the old one")
def rotation(platform):
    platform.create("sealed", nodes=1)
    bound = platform.bind("sealed", "app")
    fetch = lambda: platform.osb("GET", platform.binding_path("sealed", "app"))[2].get("credentials")
    old = sealing_keys(platform)
    equal(len(old), 1, "the number of keys in use")
    for lines, message in ((f"# the newer first\n{NEW_KEY}\n{platform.first_key}", "with both keys"),
                           (NEW_KEY, "with the new key alone")):
        platform.secret_file("keys", lines)
        platform.restart_broker()
        true(fetch() == bound, f"other credentials {message}")
        true(connects(bound["uri"]), f"the credentials do not work {message}")
        done = subprocess.run([MATRIARCH, "reencrypt"], text=True, capture_output=True, timeout=60, env={
            **os.environ, "BROKER_URI": platform.broker_uri_with_credentials})
        equal(done.returncode, 0, f"matriarch reencrypt {message}: {done.stderr}")
        # The broker itself seals the authority's key again, as soon as it acts.
        wait_until(lambda: len(sealing_keys(platform)) == 1 and sealing_keys(platform) != old,
                   lambda: f"one new key to be in use {message}: {sealing_keys(platform)}, before {old}")
    again = platform.bind("sealed", "next")
    true(connects(again["uri"]), "a binding sealed with the new key does not work")
    platform.restart_broker()
    true(fetch() == bound, "other credentials after a restart")
    for name in ("app", "next"):
        platform.unbind("sealed", name)
    platform.remove("sealed")


@scenario("the router's port to the broker speaks TLS and nothing else")
def tls(platform):
    for path, auth in (("/v2/catalog", platform.auth), ("/admin/cells", platform.admin_auth)):
        status, _, answer = http_json("GET", platform.fronted_uri + path, None, {"X-Broker-API-Version": API_VERSION},
                                      auth, context=platform.tls_context)
        equal(status, 200, f"{path} by https ({answer})")
    user, password = platform.admin_auth
    address = platform.fronted_uri.removeprefix("https://")
    told = {**os.environ, "BROKER_URI": f"https://{user}:{password}@{address}",
            "BROKER_CA_FILE": str(platform.certificate)}
    done = subprocess.run([MATRIARCH, "show-cells"], capture_output=True, text=True, timeout=60, env=told)
    equal(done.returncode, 0, f"an operator's command by https: {done.stderr}")
    del told["BROKER_CA_FILE"]
    done = subprocess.run([MATRIARCH, "show-cells"], capture_output=True, text=True, timeout=60, env=told)
    true(done.returncode != 0 and "certificate" in done.stderr,
         f"a certificate that nobody vouches for was taken: {done.stdout}{done.stderr}")
    try:
        status, _, answer = http_json("GET", platform.fronted_uri.replace("https:", "http:") + "/v2/catalog", None,
                                      {"X-Broker-API-Version": API_VERSION}, platform.auth)
        raise Failed(f"plain HTTP was answered {status}: {answer}")
    except (http.client.HTTPException, OSError):
        pass


@scenario("an operator's command uses https, and only with a broker whose certificate a trusted authority signed")
def operator_by_https(platform):
    user, password = platform.admin_auth
    def show(uri, *options, **variables):
        place = uri.replace("://", f"://{user}:{password}@")
        done = subprocess.run([MATRIARCH, "show-cells", *options], text=True, capture_output=True, timeout=60,
                              env={**os.environ, "BROKER_URI": place, **variables})
        true(password not in done.stdout + done.stderr, "the password is shown")
        return done
    authority = str(platform.certificate)
    for how in (show(platform.fronted_uri, "--ca-file", authority),
                show(platform.fronted_uri, BROKER_CA_FILE=authority)):
        equal(how.returncode, 0, how.stderr)
        true(all(guid[:8] in how.stdout for guid in platform.guids), f"not all cells in {how.stdout}")
    stranger = show(platform.fronted_uri)
    equal(stranger.returncode, 1, "the exit code where nobody vouches for the broker")
    true("certificate" in stranger.stderr, f"the message says nothing of a certificate: {stranger.stderr}")
