"""A newcomer's mistakes with the three servers, the commands and the API: each is answered soon, by a
sentence that says what is wrong, and with the exit code that scripts expect. The table is printed."""

import base64
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import yaml

from asking import certificate_for, http_json
from checks import scenario, true
from layout import MATRIARCH, PLAN, ROOT, SERVICE
from waiting import PATIENCE, wait_until

CONF = ROOT / "conf"
# The memory of a cell that has had nodes of this fleet.
FENCE = json.dumps({"fleet": "here", "revisions": {}, "graves": {}, "resting": {}})
AT_ONCE = 4  # programs wait for etcd, cells and each other's output more than for a processor
ROWS = []  # (what, what it says, milliseconds, code)


def text_of(name):
    return (CONF / f"{name}.yml").read_text()


class Mistakes:
    """A directory of broken files, and the programs' reactions to them."""

    def __init__(self, platform, directory):
        self.platform, self.directory = platform, pathlib.Path(directory)
        self.directory.chmod(0o711)  # the nodes' user passes through
        self.count = 0
        self.wrong = []  # all errors are shown at the end
        self.programs = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.under_way = []
        self.environment = {**os.environ, "BROKER_URI": platform.broker_uri_with_credentials,
                            "MATRIARCH_BIND_HOST": "127.0.0.1"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.programs.shutdown()

    def file(self, text):
        self.count += 1
        path = self.directory / f"{self.count}.yml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def file_of(self, server):
        """The configuration of the platform's own servers."""
        platform = self.platform
        return {"broker": platform.broker_config, "cell": platform.directory / f"{platform.guids[0]}.yml",
                "router": platform.directory / "router.yml"}[server]

    def changed(self, server, change):
        """The configuration of a server of this platform with a change, and with a directory of its own."""
        found = yaml.safe_load(self.file_of(server).read_text())
        if server != "broker":
            found[server]["data_dir"] = str(self.directory / f"data-{self.count + 1}")
        if server == "cell":
            found["cell"]["guid"] = "mistaken"
        change(found)
        return self.file(yaml.safe_dump(found))

    def run(self, what, words, code, *said, environment=None):
        """Expects a command's exit code and output, each part as a regular expression. See finish()."""
        row = len(ROWS)
        ROWS.append((what, "", 0, None))
        self.under_way.append(self.programs.submit(self._run, row, what, words, code, said, environment))

    def finish(self):
        """Waits for the end of all commands, for what they need is about to be removed."""
        for one in self.under_way:
            one.result()
        self.under_way.clear()

    def _run(self, row, what, words, code, said, environment):
        start = time.monotonic()
        try:
            done = subprocess.run([str(MATRIARCH), *map(str, words)], text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
                                  env={**self.environment, **(environment or {})})
        except subprocess.TimeoutExpired as error:
            self.wrong.append(f"{what}: it does not end; so far: {error.stdout}")
            return
        self.note(row, what, start, done.returncode, done.stdout, code, said)

    def ask(self, what, method, path, body, status, *said, **more):
        row = len(ROWS)
        ROWS.append((what, "", 0, None))
        start = time.monotonic()
        answer = self.platform.osb(method, path, body, timeout=PATIENCE, **more)
        text = answer[2] if isinstance(answer[2], str) else json.dumps(answer[2], ensure_ascii=False)
        self.note(row, what, start, answer[0], text, status, said)

    def note(self, row, what, start, code, text, wanted, said):
        milliseconds = round((time.monotonic() - start) * 1000)
        text = text.replace(str(self.directory) + "/", "").strip()
        ROWS[row] = (what, text, milliseconds, code)
        if code != wanted:
            self.wrong.append(f"{what}: code {code} instead of {wanted} with {text!r}")
        self.wrong += [f"{what}: no {part!r} in {text!r}" for part in said if not re.search(part, text, re.S)]
        if len(text) > 2000:
            self.wrong.append(f"{what}: {len(text)} characters")


def print_table():
    print(f"\n{'mistake':<52} {'ms':>6} {'code':>4}  what it says")
    for what, text, milliseconds, code in ROWS:
        lines = [line for line in text.splitlines() if line.strip()]
        # The last line holds the reason; warnings may come before it.
        shown = next((line for line in lines if "FAULT" in line or "matriarch" in line and "Z " not in line[:30]),
                     lines[-1] if lines else "")
        print(f"{what:<52} {milliseconds:>6} {code:>4}  {shown[:150]}")


@contextlib.contextmanager
def etcd_of_another_fleet(platform, directory):
    """An etcd on which another platform's broker has acted."""
    uri, peer = (f"http://127.{platform.octet}.0.9:{port}" for port in (2379, 2380))
    with open(directory / "etcd.log", "w", encoding="utf-8") as log, subprocess.Popen(
            ["etcd", "--data-dir", directory / "etcd", "--listen-client-urls", uri, "--advertise-client-urls", uri,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
             "--unsafe-no-fsync"], stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: answers(uri), "the other etcd did not start")
            for key, value in (("/matriarch/fleet", "elsewhere"), ("/routing/fleet", "elsewhere"),
                               ("/routing/authority", certificate_for(directory, "127.0.0.1")[0].read_text())):
                put = {"key": base64.b64encode(key.encode()).decode(),
                       "value": base64.b64encode(value.encode()).decode()}
                http_json("POST", f"{uri}/v3/kv/put", put, timeout=PATIENCE)
            yield uri
        finally:
            process.kill()


def answers(uri):
    with contextlib.suppress(OSError):
        return http_json("GET", f"{uri}/health", timeout=PATIENCE)[0] == 200


def in_files(it):
    """Mistakes in a configuration file, for any server."""
    broker, cell, router = ("broker", "--config"), ("cell", "--config"), ("router", "--config")
    it.run("no such file", [*broker, it.directory / "none.yml"], 2, r"none\.yml", "no such file|No such file")
    it.run("a directory instead of a file", [*cell, it.directory], 2, "directory|cannot be read")
    it.run("an empty file", [*router, it.file("")], 2, r"\.yml:1:", "empty")
    it.run("a tab in YAML", [*broker, it.file("broker:\n\tport: 3000\n")], 2, r"\.yml:2:", "tab")
    it.run("wrong indentation", [*broker, it.file("broker:\n  port: 3000\n username: x\n")], 2, r"\.yml:3:")
    it.run("the same key twice", [*cell, it.file("cell: {guid: a, guid: b}\n")], 2, r"\.yml:1:", "guid", "twice")
    it.run("an unknown key", [*cell, it.changed("cell", lambda c: c["cell"].update(capcity=2))], 2,
           'unknown key "capcity" in cell', 'did you mean "capacity"')
    it.run("a text where a number belongs", [*cell, it.changed("cell", lambda c: c["cell"].update(port="http"))], 2,
           "cell.port must be an integer", '"http"')
    it.run("a port above all", [*broker, it.changed("broker", lambda c: c["broker"].update(port=70000))], 2,
           "broker.port must be", "1 to 65535", "70000")
    it.run("an unset ${VARIABLE}", [*broker, CONF / "production.yml"], 2, r"production\.yml:\d+:", r"MATRIARCH_\w+",
           "not set")
    it.run("the cell's file for the broker", [*broker, CONF / "cell.yml"], 2,
           "is the configuration of `matriarch cell`, and this is `matriarch broker`")
    it.run("the broker's file for a cell", [*cell, CONF / "dev.yml"], 2,
           "is the configuration of `matriarch broker`, and this is `matriarch cell`")
    it.run("the cell's file for the router", [*router, CONF / "cell.yml"], 2,
           "is the configuration of `matriarch cell`, and this is `matriarch router`")
    it.run("an unknown parameter", [*cell, it.changed("cell", lambda c: c["postgresql"]["parameters"].update(
        {"work mem": "4MB"}))], 2, r"\.yml:\d+:", '"work mem" is no name of a PostgreSQL parameter')
    it.run("two cells of one guid", [*broker, it.changed("broker", lambda c: c["cells"].append(
        {**c["cells"][0], "uri": "http://127.0.0.1:1"}))], 2, "two cells have the guid")
    it.run("etcd without http://", [*cell, it.changed("cell", lambda c: c["etcd"].update(
        machines=["127.0.0.1:2379"]))], 2, "etcd.machines|machines", "http://")
    it.run("more nodes than there are addresses", [*cell, it.changed("cell", lambda c: c["cell"].update(
        capacity=9000, addresses="127.77.1.0/24"))], 2, "capacity", "room for")
    it.run("an unknown user", [*cell, it.changed("cell", lambda c: c["cell"].update(run_as="nobody-here"))],
           2, "run_as", "nobody-here")
    it.run("last port before the first one", [*router, it.changed("router", lambda c: c["router"].update(
        ports={"first": 20, "last": 10}))], 2, "first, 20, is above last, 10")
    it.run("an audit trail where no directory is", [*broker, it.changed("broker", lambda c: c.update(
        audit={"file": "/nowhere/audit.log"}))], 2, r"\.yml: audit\.file: /nowhere/audit\.log: No such file")


def at_the_start(it):
    """Files and servers that are missing, and addresses that are taken."""
    broker, cell, router = ("broker", "--config"), ("cell", "--config"), ("router", "--config")
    it.run("Patroni is not there", [*cell, it.changed("cell", lambda c: c.update(
        patroni={"executable": "/opt/patroni"}))], 2, "Patroni: /opt/patroni is not there", "patroni.executable")
    it.run("PostgreSQL is not there", [*cell, it.changed("cell", lambda c: c.update(
        postgresql={"bin_dir": "/opt/pg/bin"}))], 2, "in /opt/pg/bin", "initdb is not there", "postgresql.bin_dir")
    for how in ([], ["--check"]):
        it.run(": ".join([*how, "a parameter that PostgreSQL does not take"]), ["cell", *how, "--config", it.changed(
            "cell", lambda c: c["postgresql"]["parameters"].update(work_mem="1kB"))], 2,
            r'postgresql\.parameters\.work_mem is "1kB": 1 kB is outside the valid range .*64 \.\. ')
        it.run(": ".join([*how, "an unknown parameter of a plan"]), ["cell", *how, "--config", it.changed(
            "cell", lambda c: c.update(plans={PLAN: {"parameters": {"work_memm": "4MB"}}}))], 2,
            rf'plans\.{PLAN}\.parameters\.work_memm is "4MB": PostgreSQL .* has no parameter', 'is "work_mem" meant')
    it.run("a cell with the guid of another one", [*cell, it.changed("cell", lambda c: c["cell"].update(
        guid=it.platform.guids[0], port=8999))], 1, "the guid .* is taken: the cell at")
    it.run("--check: a cell with the guid of another one", ["cell", "--check", "--config", it.changed(
        "cell", lambda c: c["cell"].update(guid=it.platform.guids[0], port=8999))], 2,
        "FAULT +guid +the guid .* is taken: the cell at https://.* on the machine")
    def copied(config):
        own = yaml.safe_load(it.file_of("cell").read_text())["cell"]
        config["cell"].update(guid=own["guid"], port=8999, uri="https://127.0.0.1:8999")
        data = pathlib.Path(config["cell"]["data_dir"])
        data.mkdir()
        shutil.copy(pathlib.Path(own["data_dir"]) / "identity", data)
    it.run("--check: a copy of a cell's directory", ["cell", "--check", "--config", it.changed("cell", copied)], 2,
           "FAULT +guid +the guid .* is taken: the cell at https://.* on the machine", "a copy of the other")
    it.run("--check: a router with the id of another one", ["router", "--check", "--config", it.changed(
        "router", lambda c: (c["router"].update(id=f"{socket.gethostname()}:8890"),
                             c["router"]["status"].update(port=0)))], 2,
        "FAULT +id +the router id .*:8890 is taken: a router on the machine")
    old = it.directory / "haproxy"
    old.write_text("#!/bin/sh\necho 'HAProxy version 2.4.22 2023/02/14'\n")
    old.chmod(0o755)
    it.run("HAProxy is too old", [*router, it.changed("router", lambda c: c["router"].update(haproxy=str(old)))], 2,
           "HAProxy 2.6 or later is needed, and .*haproxy says: HAProxy version 2.4.22")
    it.run("HAProxy is not there", [*router, it.changed("router", lambda c: c["router"].update(
        haproxy="/opt/haproxy"))], 2, "HAProxy: /opt/haproxy is not there", "router.haproxy")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        def there(section):
            return lambda c: c[section].update(bind_host="127.0.0.1", port=port)
        it.run("the broker's port is taken", [*broker, it.changed("broker", there("broker"))], 1,
               f"cannot listen on 127.0.0.1:{port}", "in use")
        it.run("the cell's port is taken", [*cell, it.changed("cell", there("cell"))], 1,
               f"cannot listen on 127.0.0.1:{port}", "in use")
        it.run("the status port is taken", [*router, it.changed("router", lambda c: c["router"].update(
            status={"bind_host": "127.0.0.1", "port": port}))], 1, f"cannot listen on 127.0.0.1:{port}", "in use")
        it.run("--check: the port is taken", ["broker", "--check", "--config", it.changed("broker", there("broker"))],
               2, f"FAULT +address +cannot listen on 127.0.0.1:{port}")
        taken_by_ours(it)
        not_there(it)
        it.finish()


def taken_by_ours(it):
    """Ports used by other servers of the platform: none is the server that is checked or started."""
    own = {server: yaml.safe_load(it.file_of(server).read_text())[server] for server in ("broker", "cell", "router")}
    at_broker = {"bind_host": own["broker"]["bind_host"], "port": own["broker"]["port"]}
    at_cell = {"bind_host": own["cell"]["bind_host"], "port": own["cell"]["port"]}

    def of_another_id(status):
        return lambda c: c["router"].update(id="mistaken", status=status)
    for what, server, change, at in (
            ("another router's status port", "router", of_another_id(own["router"]["status"]), own["router"]["status"]),
            ("the broker's port for a router's status", "router", of_another_id(at_broker), at_broker),
            ("the broker's port for a cell", "cell", lambda c: c["cell"].update(at_broker), at_broker),
            ("another cell's port", "cell", lambda c: c["cell"].update(at_cell), at_cell),
            ("the router's status port for the broker", "broker", lambda c: c["broker"].update(own["router"]["status"]),
             own["router"]["status"])):
        said = rf"cannot listen on {re.escape(at['bind_host'])}:{at['port']}"
        it.run(f"--check: {what}", [server, "--check", "--config", it.changed(server, change)], 2,
               f"FAULT +address +{said}")
        it.run(what, [server, "--config", it.changed(server, change)], 1, said)


def not_there(it):
    """Servers and programs other than the intended ones."""
    it.run("--check: etcd is not there", ["cell", "--check", "--config", it.changed("cell", lambda c: c["etcd"].update(
        machines=["http://127.0.0.1:1"]))], 2, r"FAULT +etcd +http://127\.0\.0\.1:1: ", "refused|connect")
    it.run("--check: https to a plain etcd", ["router", "--check", "--config", it.changed(
        "router", lambda c: c["etcd"].update(machines=[c["etcd"]["machines"][0].replace("http:", "https:")]))], 2,
        "FAULT +etcd +https://", "TLS|SSL")
    it.run("--check: HAProxy is another program", ["router", "--check", "--config", it.changed(
        "router", lambda c: c["router"].update(haproxy="/bin/true"))], 2, "FAULT +haproxy", "2.6 or later is needed")
    it.run("--check: a cell's password is wrong", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: [one.update(password="wrong") for one in c["cells"]])], 2,
        "FAULT +cell", "refuses the username and the password")
    it.run("--check: the cells' addresses are mixed up", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: [c["cells"][0].update(uri=c["cells"][1]["uri"]), c["cells"].pop(1)])], 2,
        "FAULT +cell", "its certificate is not that of")
    it.run("--check: http to a cell that speaks TLS", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: [one.update(uri=one["uri"].replace("https:", "http:")) for one in c["cells"]])], 2,
        "FAULT +cell", "This port speaks TLS and nothing else: use https:// here")
    def wrong_plans(config):
        plans = config["catalog"]["services"][0]["plans"]
        plans[0]["provision"]["parameters"] = {"work_mem": "1kB"}
        plans += [{**plans[0], "id": f"surplus-{n}", "name": f"surplus-{n}", "provision": {
            **plans[0]["provision"], "parameters": {"work_mem": "4MB"}}} for n in range(60)]
        plans[-1]["provision"]["parameters"] = {"work_memm": "4MB"}
        config["cells"][0]["uri"] = "https://127.0.0.1:1"  # away: a line, and no fault of the plans
    guid = it.platform.guids[1]
    it.run("--check: plans that the cells do not take", ["broker", "--check", "--config", it.changed(
        "broker", wrong_plans)], 2, rf"FAULT +plans +plan .*{PLAN}.* does not start: 1 kB is outside .*, on {guid}",
        rf'FAULT +plans +plan surplus-59 .* does not start: .*is "work_mem" meant\?, on {guid}',
        rf"doubt +cell +{it.platform.guids[0]} in .*127\.0\.0\.1:1")
    it.run("--check: a plan for which no cell is large enough", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: c["catalog"]["services"][0]["plans"][0]["provision"].update(memory="900TB"))], 2,
        rf"FAULT +plans +plan .*{PLAN}.* asks for more than there is: .* of memory, less than the plan's 900 TB")
    it.run("--check: https to a plain port", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: c["cells"][0].update(uri=it.platform.broker_uri.replace("http:", "https:")))], 2,
        "FAULT +cell", "does not answer by TLS")
    it.run("--check: no cell is there", ["broker", "--check", "--config", it.changed(
        "broker", lambda c: [one.update(uri=f"http://127.0.0.1:{n}") for n, one in enumerate(c["cells"], 1)])], 2,
        "FAULT +cell", "refused|connect")
    with etcd_of_another_fleet(it.platform, it.directory) as other:
        def there_instead(config):
            config["etcd"]["machines"] = [other]
        def own_directory(config):
            there_instead(config)
            data = pathlib.Path(config["cell"]["data_dir"])
            data.mkdir()
            data.joinpath("fence.json").write_text(FENCE)
        it.run("--check: the etcd of another fleet (broker)", ["broker", "--check", "--config", it.changed(
            "broker", there_instead)], 2, "the fleet elsewhere", "FAULT +cell", "no broker that acts on this etcd")
        it.run("--check: the etcd of another fleet (cell)", ["cell", "--check", "--config", it.changed(
            "cell", own_directory)], 2, "FAULT +fleet", "leads to the fleet elsewhere", "belongs to the fleet here")
        def own_router_directory(config):
            there_instead(config)
            config["router"].setdefault("status", {})["port"] = 0  # the platform's router has its own
            data = pathlib.Path(config["router"]["data_dir"])
            data.mkdir()
            data.joinpath("fleet").write_text("here\n")
        it.run("--check: the etcd of another fleet (router)", ["router", "--check", "--config", it.changed(
            "router", own_router_directory)], 2, "FAULT +fleet", "leads to the fleet elsewhere",
            "belongs to the fleet here")
        it.run("the etcd of another fleet", ["router", "--config", it.changed("router", own_router_directory)], 1,
               "leads to the fleet elsewhere", "belongs to the fleet here")
        it.finish()


def with_commands(it):
    it.run("no command", [], 2, "a command is missing")
    it.run("an unknown command", ["show-cell"], 2, 'no command "show-cell"', 'did you mean "show-cells"')
    it.run("a server without a file", ["cell"], 2, "--config is required")
    it.run("no $BROKER_URI", ["show-cells"], 2, "BROKER_URI", environment={"BROKER_URI": ""})
    it.run("$BROKER_URI without a password", ["show-cells"], 2, "BROKER_URI", "user",
           environment={"BROKER_URI": "http://127.0.0.1:3000"})
    it.run("https to the broker's plain port", ["show-cells"], 1, "https|TLS|SSL", environment={
        "BROKER_URI": it.platform.broker_uri_with_credentials.replace("http:", "https:")})
    it.run("the broker is not there", ["service-status"], 1, "127.0.0.1:1", "refused|connect",
           environment={"BROKER_URI": "http://u:p@127.0.0.1:1"})
    it.run("a wrong password", ["service-status"], 1, "password", environment={
        "BROKER_URI": re.sub(":[^:@/]+@", ":wrong@", it.platform.broker_uri_with_credentials)})
    it.run("an unknown instance", ["service-status", "nobody"], 1, 'no service instance "nobody"')
    it.run("an unknown cell", ["forget-cell", "nowhere"], 1, "nowhere")


def with_the_api(it):
    path = "/v2/service_instances/mistaken"
    ids = {"service_id": SERVICE, "plan_id": PLAN}
    it.ask("a body that is no JSON", "PUT", path, b"{", 400, "not valid JSON")
    it.ask("an unknown plan", "PUT", path, {**ids, "plan_id": "x"}, 400, "plan_id .*x.* is no plan", "/v2/catalog")
    it.ask("parameters that are none", "PUT", path, {**ids, "parameters": {"nodes": 2}}, 400, "nodes")
    it.ask("more nodes than cells", "PUT", path, {**ids, "parameters": {"node-count": 99}}, 400, "node-count", "cells")
    it.ask("a DELETE without ids", "DELETE", path, None, 400, "service_id is missing in the query")
    it.ask("a wrong path", "GET", "/v2/services", None, 404, "begins with /v2/catalog")
    it.ask("a wrong method", "POST", path, ids, 405, "GET, PUT, PATCH, DELETE")


@scenario("a newcomer's mistakes with servers, commands and API are explained soon, with the right exit code")
def mistakes(platform):
    ROWS.clear()
    with tempfile.TemporaryDirectory(prefix="matriarch-mistakes-") as directory:
        with Mistakes(platform, directory) as it:
            try:
                for part in (in_files, at_the_start, with_commands, with_the_api):
                    part(it)
                it.finish()
            finally:
                print_table()
    true(not it.wrong, lambda: "\n".join(it.wrong))
    true(len(ROWS) >= 40, f"only {len(ROWS)} mistakes")


def see_servers_checked(platform):
    with tempfile.TemporaryDirectory(prefix="matriarch-checked-") as directory:
        with Mistakes(platform, directory) as it:
            for server, itself in (("broker", r"ok +plans +all \d+ start with PostgreSQL \d+\.\d+, on "),
                                   ("cell", "ok +guid +it runs at https://.* on the machine"),
                                   ("router", "ok +id +router .*: it runs on the machine")):
                it.run(server, [server, "--check", "--config", it.file_of(server)], 0, "ok +etcd .*the fleet",
                       "ok +address +.*(has this server already|is free)", itself, "It can serve")
            it.finish()
        true(not it.wrong, lambda: "\n".join(it.wrong))


@scenario("--check reports of each server of a platform that it can serve")
def healthy(platform):
    see_servers_checked(platform)


@scenario("broker, cell and router log in one form: time in UTC, level, text")
def one_form(platform):
    # The second form is a server's refusal to serve.
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (trace|debug|info|warning|error|critical) \S|"
                      r"matriarch (broker|cell|router): ")
    for process in (platform.broker, platform.cells[0], platform.router):
        # The last line may not be complete yet.
        lines = process.log.read_text(errors="replace").rpartition("\n")[0].splitlines()
        true(lines, f"{process.name} has logged nothing")
        for line in lines:
            true(form.match(line), f"{process.name} has logged in another form: {line!r}")
