"""Two tenants on one cell: neither can reach what belongs to the other, whatever it tries."""

import contextlib
import functools
import itertools
import re

import psycopg2
import psycopg2.extras

from asking import encoded
from checks import connects, equal, scenario, true
from mistakes import see_servers_checked
from offers import offer

# etcd with users and TLS, everything secret sealed, TLS at the router: as in production.
GUARDED = {"strict": True, "etcd_auth": True, "etcd_tls": True, "tls": True, "secrets": True, "edit": offer}
PLATFORM = GUARDED


class Tenant:
    """An instance, and everything that its owner could know of it, even what only the nodes' operator
    knows."""

    def __init__(self, platform, name):
        self.name = name
        self.binding = platform.bind(name, "app")
        self.port = platform.public_port(name)
        self.node = platform.leader(name)
        self.files = platform.node_files(self.node)
        self.config = platform.node_configuration(self.node)
        self.address = self.config["postgresql"]["connect_address"]
        self.api = "https://" + self.config["restapi"]["connect_address"]
        self.ask_patroni = functools.partial(platform.ask_patroni, self.node)
        self.api_user = self.config["restapi"]["authentication"]
        self.superuser = self.config["postgresql"]["authentication"]["superuser"]
        self.replication = self.config["postgresql"]["authentication"]["replication"]
        self.etcd_user = self.config["etcd3"]

    def users(self):
        """(username, password) of all users."""
        return [(who["username"], who["password"]) for who in (
            self.binding, self.api_user, self.superuser, self.replication, self.etcd_user)]


def tenants(platform):
    """Two tenants on one cell."""
    if not hasattr(platform, "tenants"):
        cell = platform.guids[:1]
        for name in ("first", "second"):
            platform.provision(name, nodes=1, cells=cell)
        for name in ("first", "second"):
            platform.wait_operation(name).must_succeed()
        platform.tenants = [Tenant(platform, name) for name in ("first", "second")]
        for one in platform.tenants:
            as_superuser(one, "create database apart")
            as_superuser(one, f"create table kept as select 'word of {one.name}' as words")
    return platform.tenants


def both_ways(platform):
    return itertools.permutations(tenants(platform))


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()


def as_superuser(tenant, statement, *values):
    """The rows of a statement that a tenant's own superuser runs on its node."""
    host, port = tenant.address.split(":")
    with contextlib.closing(psycopg2.connect(
            host=host, port=port, user=tenant.superuser["username"], password=tenant.superuser["password"],
            dbname="postgres", connect_timeout=60)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def run_on_node(tenant, command):
    """The output of a shell command that a tenant's superuser runs on its node; None if it failed."""
    try:
        as_superuser(tenant, "drop table if exists written; create table written (line text)")
        as_superuser(tenant, "copy written from program %s (format csv, delimiter E'\\x01', quote E'\\x02')", command)
        return [row[0] for row in as_superuser(tenant, "select line from written")]
    except psycopg2.Error:
        return None


def addresses(platform, tenant):
    """The addresses of its database: the public port, and the node's own."""
    return [(platform.public_host, tenant.port), tuple(tenant.address.split(":"))]


@scenario("no user of one instance can log in at another's ports")
def ports(platform):
    for own, other in both_ways(platform):
        for (user, password), (host, port) in itertools.product(own.users(), addresses(platform, other)):
            for database in (other.binding["name"], "postgres", "apart", "template1"):
                true(not connects("", host=host, port=port, user=user, password=password, dbname=database),
                     f"{user} of {own.name} is let in at {other.name}'s {host}:{port}/{database}")
        for host, port in addresses(platform, own):
            binding = own.binding
            true(connects("", host=host, port=port, user=binding["username"], password=binding["password"],
                          dbname=binding["name"]), f"{own.name} is not let in at its own {host}:{port}")


@scenario("a superuser of one instance reads no file of another, and sees none of its processes")
def files(platform):
    for own, other in both_ways(platform):
        true(run_on_node(own, "echo reached") == ["reached"], "commands cannot be run at all: nothing is shown")
        data = other.config["postgresql"]["data_dir"]
        for path in (f"{data}/PG_VERSION", f"{other.files}/patroni.yml", f"{other.files}/node.json",
                     f"{other.files}/bootstrap.sql", f"{other.files}/log", f"{data}/../pgpass",
                     f"{other.files}/server.pem", str(platform.directory / "broker.yml"),
                     str(platform.directory / f"{platform.guids[0]}.yml"), str(platform.directory / "secrets/keys")):
            for command in (f"cat '{path}'", f"cat '/proc/1/root{path}'", f"cat '/proc/self/root{path}'"):
                found = run_on_node(own, command)
                true(not found, lambda: f"{own.name} reads {path} by {command}: {str(found)[:80]}")
            with contextlib.suppress(psycopg2.Error):
                text = as_superuser(own, "select pg_read_file(%s)", path)
                true(False, lambda: f"{own.name} reads {path} by pg_read_file: {str(text)[:80]}")
        for path in (data, f"{data}/base", str(other.files), f"{other.files}/home"):
            true(not run_on_node(own, f"ls -A '{path}'"), f"{own.name} lists {path}")
            with contextlib.suppress(psycopg2.Error):
                listed = as_superuser(own, "select pg_ls_dir(%s)", path)
                true(not listed, f"{own.name} lists {path} by pg_ls_dir: {listed[:3]}")
            true(not run_on_node(own, f"touch '{path}/by-another' && echo done"), f"{own.name} writes into {path}")
        commands = run_on_node(
            own, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0\\001\\002' ' '")
        true(commands is not None and not any(other.node in line for line in commands),
             f"{own.name} sees processes of {other.name}")
        # It does reach its own Patroni's socket and data: the isolation hides others' files, not
        # everything.
        true(run_on_node(own, f"cat '{own.config['postgresql']['data_dir']}/PG_VERSION'"), "not even its own file")


@scenario("no user of one instance replicates from another")
def replication(platform):
    for own, other in both_ways(platform):
        host, port = other.address.split(":")
        for user, password in own.users():
            try:
                psycopg2.connect(host=host, port=port, user=user, password=password, connect_timeout=60,
                                 connection_factory=psycopg2.extras.PhysicalReplicationConnection).close()
                true(False, f"{user} of {own.name} replicates from {other.name}")
            except psycopg2.OperationalError as error:
                true("authentication failed" in str(error) or "pg_hba" in str(error), f"refused as: {error}")
        # An application does not, even with its own instance.
        host, port = own.address.split(":")
        try:
            psycopg2.connect(host=host, port=port, user=own.binding["username"], password=own.binding["password"],
                             connection_factory=psycopg2.extras.PhysicalReplicationConnection,
                             connect_timeout=60).close()
            true(False, f"an application of {own.name} replicates")
        except psycopg2.OperationalError as error:
            true("must be superuser or replication role" in str(error) or "pg_hba" in str(error),
                 f"refused as: {error}")


UNSAFE = [("POST", path) for path in ("/restart", "/reload", "/reinitialize", "/failover", "/switchover",
                                      "/sigterm", "/citus")]
UNSAFE += [("PATCH", "/config"), ("PUT", "/config"), ("DELETE", "/restart"), ("DELETE", "/switchover")]


@scenario("Patroni's REST changes nothing without its own credentials: 401")
def patroni(platform):
    for own, other in both_ways(platform):
        before = other.ask_patroni("GET", "/config")[2]
        for (method, path), auth in itertools.product(UNSAFE, [None, *own.users()]):
            status, _, answer = other.ask_patroni(method, path, {"ttl": 77}, auth=auth)
            equal(status, 401, f"{method} {path} of {other.name} as {auth and auth[0]} of {own.name} ({answer})")
        equal(other.ask_patroni("GET", "/config")[2], before, f"the configuration of {other.name}")
        for auth in [who for who in own.users() if who[0] != own.api_user["username"]]:
            equal(own.ask_patroni("PATCH", "/config", {"ttl": 77}, auth=auth)[0], 401,
                  f"{auth[0]} at Patroni's REST of its own instance")
        # From the other tenant's node too, whose address pg_hba.conf allows.
        answer = run_on_node(own, f"curl -sk -o /dev/null -w '%{{http_code}}' -X POST {other.api}/restart")
        true(answer in (["401"], None, []), f"{answer}")
        its_own = own.api_user["username"], own.api_user["password"]
        equal(own.ask_patroni("PATCH", "/config", {"ttl": before["ttl"]}, auth=its_own)[0], 200,
              "its own credentials")


@scenario("an instance's user of etcd writes Patroni's keys of its own scope, and nothing else")
def etcd(platform):
    put = lambda key: ("/v3/kv/put", {"key": encoded(key), "value": encoded("by another")})
    erase = lambda key: ("/v3/kv/deleterange", {"key": encoded(key)})
    read = lambda key: ("/v3/kv/range", {"key": encoded(key)})
    before = platform.keys("/routing/")
    for own, other in both_ways(platform):
        user = own.etcd_user["username"], own.etcd_user["password"]
        for name in ("leader", "config", "state", "initialize", "history", "sync", "failover", "members/x",
                     f"members/{other.node}", "bindings/app", "optime/leader"):
            key = f"/service/{other.name}/{name}"
            for path, body in (put(key), erase(key), read(key)):
                status, answer = platform.etcd_status(path, body, *user)
                true(status != 200, f"{user[0]} of {own.name} may {path} {key}: {answer}")
        for key in (f"/service/{own.name}/state", f"/service/{own.name}/bindings/app", "/matriarch/active",
                    f"/routing/allocation/{own.name}", f"/routing/allocation/{other.name}", "/cells/x", "/x",
                    "/service/x/leader", f"/service/{own.name}x/leader"):
            for path, body in (put(key), erase(key)):
                status, answer = platform.etcd_status(path, body, *user)
                true(status != 200, f"{user[0]} of {own.name} may {path} {key}: {answer}")
        for path, body in (("/v3/auth/user/list", {}), ("/v3/auth/disable", {}),
                           ("/v3/auth/user/add", {"name": "x", "password": "x"}),
                           ("/v3/auth/user/changepw", {"name": "root", "password": "x"}),
                           ("/v3/auth/role/grant", {"name": user[0], "perm": {
                               "permType": "READWRITE", "key": encoded("/"), "range_end": encoded("0")}})):
            status, answer = platform.etcd_status(path, body, *user)
            true(status != 200, f"{user[0]} of {own.name} may {path}: {answer}")
        status, answer = platform.etcd_status(*read(f"/service/{own.name}/leader"), *user)
        equal(status, 200, f"its own leader key ({answer})")
        for path, body in (put(f"/service/{own.name}/leader"), read(f"/service/{own.name}/leader")):
            true(platform.etcd_status(path, body)[0] != 200, f"nobody may {path}")
    equal(platform.keys("/routing/"), before, "the keys below /routing/")
    for tenant in tenants(platform):
        equal(platform.leader(tenant.name), tenant.node, f"who leads {tenant.name}")


@scenario("PostgreSQL accepts no login without a password, and every node speaks TLS")
def access(platform):
    for tenant in tenants(platform):
        text = (tenant.files / "home/data/pg_hba.conf").read_text()
        rules = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        true(rules and all("scram-sha-256" in rule or "reject" in rule for rule in rules), f"{rules}")
        true(not re.search(r"\b(trust|md5|password|peer|ident)\b", "\n".join(rules)), f"{rules}")
        rows = as_superuser(tenant, "select type, auth_method from pg_hba_file_rules")
        true(rows and all(method in ("scram-sha-256", "reject") for _, method in rows), f"{rows}")
        equal(as_superuser(tenant, "select count(*) from pg_authid where rolpassword is not null "
                                   "and rolpassword not like 'SCRAM-SHA-256$%'"), [(0,)], "other password hashes")
        binding = tenant.binding
        for host, port in addresses(platform, tenant):
            with contextlib.closing(psycopg2.connect(
                    host=host, port=port, user=binding["username"], password=binding["password"],
                    dbname=binding["name"], sslmode="require", connect_timeout=60)) as connection:
                version = connection.info.ssl_attribute("protocol")
                true(version in ("TLSv1.2", "TLSv1.3"), f"{host}:{port} speaks {version}")


@scenario("the etcd rights that the configuration files name suffice for a server's --check and start")
def documented_rights(platform):
    see_servers_checked(platform)


@scenario("no two users of any instances are the same, and each has its own password")
def users(platform):
    first, second = tenants(platform)
    for tenant in (first, second):
        # Patroni's REST API and PostgreSQL are separate, but one name for both would mislead.
        names = [name for name, _ in tenant.users()]
        equal(len(set(names)), len(names), f"the number of different users of {tenant.name}: {names}")
        roles = [tenant.replication["username"], tenant.api_user["username"]]
        true(not {name for name in roles} & {tenant.superuser["username"], tenant.binding["username"]}, f"{roles}")
    passwords = [password for tenant in (first, second) for _, password in tenant.users()]
    equal(len(set(passwords)), len(passwords), "the number of different passwords")
    true(all(len(password) >= 16 for password in passwords), "a short password")
    for tenant in (first, second):
        rows = dict(as_superuser(tenant, "select rolname, rolsuper from pg_roles where rolreplication"))
        equal(rows[tenant.replication["username"]], False, "whether the replication user is a superuser")
