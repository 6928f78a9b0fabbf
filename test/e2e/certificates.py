"""`sslmode=verify-full` with nothing but a binding's credentials, by the real psql through the public port."""

import contextlib
import json
import os
import socket
import ssl
import subprocess

import psycopg2
import yaml

from asking import http_json
from checks import equal, scenario, true
from tenants import GUARDED
from waiting import PATIENCE, wait_until

PLATFORM = GUARDED


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()


def psql(platform, credentials, statement="select 1", **other):
    """The output of psql for a statement, and its errors; psql checks the server with what the binding
    holds."""
    authority = platform.directory / "binding-authority.pem"
    authority.write_text(credentials["ca_certificate"])
    parameters = {"host": credentials["hostname"], "port": credentials["port"], "dbname": credentials["dbname"],
                  "user": credentials["username"], "sslmode": "verify-full", "sslrootcert": authority,
                  "connect_timeout": 60, **other}
    done = subprocess.run(
        ["psql", "--no-psqlrc", "-qAtc", statement, " ".join(f"{name}={value}" for name, value in parameters.items())],
        env={**os.environ, "PGPASSWORD": credentials["password"]}, text=True, capture_output=True, timeout=PATIENCE)
    return done.stdout.strip(), done.stderr.strip()


def must_verify(platform, credentials, **other):
    equal(psql(platform, credentials, **other), ("1", ""), "what psql says")


def wait_verified(platform, credentials, **other):
    last = []
    def verified():
        last[:] = psql(platform, credentials, **other)
        return last == ["1", ""]
    wait_until(verified, lambda: f"psql to take the server's certificate; it said {last}")


def fetched(platform, instance, binding):
    answer = platform.osb("GET", platform.binding_path(instance, binding), None, platform.ids_of(instance))[2]
    return answer["credentials"]


def started_at(platform, node):
    return platform.ask_node(node, "select pg_postmaster_start_time()")


def own_authority(directory, name):
    """A new authority: the files of its certificate and its key."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "400", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    key.chmod(0o600)
    return certificate, key


@contextlib.contextmanager
def configured(platform, change):
    """Runs the broker with another configuration, and at the end with its own again."""
    before = platform.broker_config.read_text()
    config = yaml.safe_load(before)
    change(config)
    platform.broker_config.write_text(yaml.safe_dump(config))
    platform.restart_broker()
    try:
        yield
    finally:
        platform.broker_config.write_text(before)
        platform.restart_broker()


@scenario("psql verifies the server by a binding alone, before and after a failover, a restart and a move")
def verified(platform):
    platform.create("checked", nodes=2)
    binding = platform.bind("checked", "app")
    equal({name: binding[name] for name in ("hostname", "database", "dbname")},
          {"hostname": binding["host"], "database": binding["name"], "dbname": binding["name"]}, "the new keys")
    true(binding["uri"].startswith("postgresql://"), f"the scheme of {binding['uri'].split('@')[-1]}")
    equal(fetched(platform, "checked", "app"), binding, "the binding as it is fetched")
    must_verify(platform, binding)
    # A client that knows only another authority, or uses another host name, refuses the server.
    stranger, _ = own_authority(platform.directory, "stranger")
    true("certificate verify failed" in psql(platform, binding, sslrootcert=stranger)[1],
         "another authority vouches too")
    true("does not match host name" in psql(platform, binding, host="elsewhere.example.org",
                                            hostaddr=binding["hostname"])[1], "the certificate is for any name")

    killed = platform.leader("checked")
    platform.kill_machine(platform.nodes_of("checked")[killed])
    wait_until(lambda: platform.leader("checked") not in (None, killed), "another leader")
    wait_verified(platform, binding)
    platform.start_machine(platform.nodes_of("checked")[killed])
    platform.wait_all_running("checked", 2)
    must_verify(platform, binding)
    # Every node has such a certificate, leader or not.
    for node in platform.nodes_of("checked"):
        host, port = platform.node_configuration(node)["postgresql"]["connect_address"].rsplit(":", 1)
        # A node whose machine was killed may have a member key before PostgreSQL answers.
        wait_verified(platform, binding, hostaddr=host, port=port)

    platform.wait_cells_seen()
    others = [guid for guid in platform.guids if guid not in platform.nodes_of("checked").values()]
    platform.update("checked", cells=others)
    platform.wait_operation("checked").must_succeed()
    wait_verified(platform, binding)


def patroni_address(platform, node):
    host, port = platform.node_configuration(node)["restapi"]["connect_address"].rsplit(":", 1)
    return host, int(port)


def tls_of_patroni(platform, node, authority, name):
    """The error of a handshake with a node's Patroni: "" if the certificate is good."""
    context = ssl.create_default_context(cadata=authority)
    try:
        with socket.create_connection(patroni_address(platform, node), timeout=20) as plain:
            with context.wrap_socket(plain, server_hostname=name):
                return ""
    except ssl.SSLError as error:
        return str(error)


@scenario("Patroni speaks only TLS, with the fleet's certificate for its node, and its cell has reported it")
def patroni_by_tls(platform):
    authority = fetched(platform, "checked", "app")["ca_certificate"]
    equal(platform.keys("/routing/authority")["/routing/authority"], authority, "what routers check by")
    for node in platform.nodes_of("checked"):
        member = json.loads(platform.keys("/service/checked/members/")[f"/service/checked/members/{node}"])
        true(member["api_url"].startswith("https://"), f"{node} is asked at {member['api_url']}")
        equal(tls_of_patroni(platform, node, authority, node), "", "its certificate")
        true("mismatch" in tls_of_patroni(platform, node, authority, "another"), "it is anybody's certificate")
        nobody, _ = own_authority(platform.directory, "nobody")
        true("verify failed" in tls_of_patroni(platform, node, nobody.read_text(), node), "anybody signed it")
        with socket.create_connection(patroni_address(platform, node), timeout=20) as plain:
            plain.sendall(b"GET /patroni HTTP/1.0\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                true(b"patroni" not in plain.recv(4096), "it answers in the clear")
    recorded = lambda: json.loads(platform.keys("/service/checked/state")["/service/checked/state"])["nodes"]
    for node in recorded():
        true(node.get("certified") and node.get("patroni_certified"), f"the record says no such thing: {node}")


@scenario("the authority's key is sealed in etcd, in no answer, and is sealed again with the newest key")
def sealed(platform):
    stored = lambda: json.loads(platform.keys("/matriarch/authority")["/matriarch/authority"])["authorities"][0]
    before = stored()
    true(before["key"].startswith("sealed:") and "PRIVATE" not in json.dumps(before), "the key is not sealed")
    for path in ("/admin/service_instances", "/admin/cells", "/healthz"):
        text = json.dumps(platform.osb("GET", path)[2])
        true(before["key"] not in text and "PRIVATE KEY" not in text, f"{path} shows the key")
    old = open(platform.key_file).read()
    with open(platform.key_file, "w") as keys:
        keys.write("ab" * 32 + "\n" + old)
    platform.restart_broker()
    wait_until(lambda: stored()["key"] != before["key"], "the key to be sealed anew")
    equal(stored()["certificate"], before["certificate"], "the authority")
    # Like everything else in etcd, so that the old key can be removed; and the other way round.
    equal(platform.osb("POST", "/admin/reencrypt")[0], 200, "the sealing of all else")
    with open(platform.key_file, "w") as keys:
        keys.write("ab" * 32 + "\n")
    platform.restart_broker()
    true(platform.bind("checked", "later")["ca_certificate"] == before["certificate"], "another authority")
    with open(platform.key_file, "w") as keys:
        keys.write(old + "ab" * 32 + "\n")
    platform.restart_broker()
    equal(platform.osb("POST", "/admin/reencrypt")[0], 200, "the sealing of all else")
    wait_until(lambda: stored()["key"].split(":")[1] == before["key"].split(":")[1], "the first key's seal")
    with open(platform.key_file, "w") as keys:
        keys.write(old)
    platform.unbind("checked", "later")


@scenario("a node of an earlier release with its own certificate gets the fleet's, without a restart")
def earlier_release(platform):
    binding = fetched(platform, "checked", "app")
    leader = platform.leader("checked")
    guid = platform.nodes_of("checked")[leader]
    before = started_at(platform, leader)
    platform.cell(guid).stop()
    platform.stop_broker()
    # As that release wrote it: certificate and key in two files, self-signed, and Patroni without
    # TLS.
    files = platform.node_files(leader)
    config = platform.node_configuration(leader)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "400", "-subj", f"/CN={leader}", "-keyout", files / "server.key",
                    "-out", files / "server.crt"],
                   check=True, capture_output=True, timeout=60)
    whose = (files / "server.pem").stat()
    for name in ("server.key", "server.crt"):
        os.chown(files / name, whose.st_uid, whose.st_gid)
        (files / name).chmod(0o600)
    for name in ("server.pem", "fleet.crt"):
        (files / name).unlink()
    config["postgresql"]["parameters"].update(ssl_cert_file=str(files / "server.crt"),
                                              ssl_key_file=str(files / "server.key"))
    who = config["restapi"]["authentication"]
    ask = {"auth": (who["username"], who["password"]),
           "context": ssl.create_default_context(cadata=binding["ca_certificate"])}
    for name in ("certfile", "cafile", "verify_client"):
        del config["restapi"][name]
    del config["ctl"]
    (files / "patroni.yml").write_text(yaml.safe_dump(config))
    kept = json.loads((files / "node.json").read_text())
    del kept["patroni_tls"]
    (files / "node.json").write_text(json.dumps(kept))
    # The record had no addresses either, and the router followed the member's key.
    record = json.loads(platform.keys("/service/checked/state")["/service/checked/state"])
    for node in record["nodes"]:
        if node["node_id"] == leader:
            del node["certified"], node["patroni_certified"]
    platform.put_key("/service/checked/state", json.dumps(record))
    status, _, answer = http_json("POST", f"https://{config['restapi']['connect_address']}/reload", **ask)
    true(status in (200, 202), f"Patroni's answer: {answer}")
    api_url = lambda: json.loads(platform.keys("/service/checked/members/").get(
        f"/service/checked/members/{leader}", "{}")).get("api_url", "")
    wait_until(lambda: api_url().startswith("http://"), "Patroni to speak plain HTTP")
    wait_until(lambda: "certificate verify failed" in psql(platform, binding)[1], "the node to show what it had")
    platform.start_machine(guid)
    platform.start_broker()
    wait_verified(platform, binding)
    wait_until(lambda: api_url().startswith("https://"), "Patroni to speak TLS")
    wait_until(lambda: tls_of_patroni(platform, leader, binding["ca_certificate"], leader) == "",
               "Patroni to show the fleet's certificate")
    equal(started_at(platform, leader), before, "the start of PostgreSQL")


@scenario("another public host is in the nodes' certificates soon, without a restart")
def another_host(platform):
    leader = platform.leader("checked")
    before = started_at(platform, leader)
    def change(config):
        config["broker"]["advertise_host"] = "databases.example.org"
    with configured(platform, change):
        binding = fetched(platform, "checked", "app")
        equal(binding["hostname"], "databases.example.org", "the host of the binding")
        wait_verified(platform, binding, hostaddr=platform.public_host)
    wait_verified(platform, fetched(platform, "checked", "app"))
    equal(started_at(platform, leader), before, "the start of PostgreSQL")


@scenario("while another authority takes over, sessions go on, also with nodes whose cell is away")
def takes_over(platform):
    binding = fetched(platform, "checked", "app")
    told = lambda: platform.keys("/routing/authority")["/routing/authority"]
    before = told()
    certificate, key = own_authority(platform.directory, "newcomer")
    def change(config):
        config["authority"] = {"certificate": str(certificate), "key": str(key)}
    with contextlib.closing(psycopg2.connect(binding["uri"])) as held:
        cursor = held.cursor()
        def goes_on():
            """Checks for somewhat longer than routers take to give up a node."""
            for _ in range(50):
                cursor.execute("select pg_sleep(0.1)")
                equal(psql(platform, binding), ("1", ""), "a new session")
        with platform.frozen_processes(platform.cells):
            with configured(platform, change):
                wait_until(lambda: told() == certificate.read_text() + before, "routers to be told of both")
                goes_on()
            # At all times the routers trust the authority of the certificates that nodes show.
            wait_until(lambda: told() == before + certificate.read_text(), "routers to be told of it")
            goes_on()


@scenario("an operator's authority signs for running nodes, and a file that cannot sign is refused")
def operators_authority(platform):
    certificate, key = own_authority(platform.directory, "operator")
    later, _ = own_authority(platform.directory, "successor")
    before = json.loads(platform.keys("/matriarch/authority")["/matriarch/authority"])["authorities"][0]["certificate"]
    def change(config):
        config["authority"] = {"certificate": str(certificate), "key": str(key), "successor": str(later)}
    with configured(platform, change):
        binding = fetched(platform, "checked", "app")
        true(binding["ca_certificate"].startswith(certificate.read_text() + later.read_text()),
             "the binding does not hold the operator's")
        # Whatever the node still shows, once the broker knows the authority that is replaced.
        wait_until(lambda: before in fetched(platform, "checked", "app")["ca_certificate"],
                   "the binding to hold who signed before")
        must_verify(platform, fetched(platform, "checked", "app"))
        wait_verified(platform, binding, sslrootcert=certificate)
    wait_verified(platform, fetched(platform, "checked", "app"))
    wrong = platform.directory / "wrong.yml"
    config = yaml.safe_load(platform.broker_config.read_text())
    config["authority"] = {"certificate": str(certificate), "key": str(later)}
    wrong.write_text(yaml.safe_dump(config))
    wrong.chmod(0o600)
    done = subprocess.run([*platform.broker.command[:2], "--config", str(wrong)], text=True,
                          capture_output=True, timeout=60)
    equal(done.returncode, 2, "the exit code")
    true("authority.key" in done.stderr, f"what is said: {done.stderr}")
    platform.unbind("checked", "app")
