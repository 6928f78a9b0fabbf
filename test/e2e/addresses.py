"""A tenant with the superuser of its own database can run programs there, and so has the node's Patroni,
its etcd user, and everything that the node sees. None of these may lead the platform to another address."""

import contextlib
import json
import os
import pathlib
import socket
import threading

import psycopg2
import yaml

from asking import encoded
from checks import connects, equal, exactly_as_asked, scenario, true
from offers import GENEROUS
from processes import processes_of
from tenants import GUARDED
from waiting import wait_until

PLATFORM = GUARDED


class Superuser:
    """Runs statements with such a plan's binding, through the public port."""

    def __init__(self, binding):
        self.uri = binding["superuser"]["uri"]

    def ask(self, statement, *values):
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def run(self, command):
        """The output of a program on the leader's node, errors included."""
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            cursor = connection.cursor()
            cursor.execute("create temporary table said (line text)")
            cursor.execute("copy said from program %s with (delimiter e'\\x01')", (f"{{ {command}; }} 2>&1 || true",))
            cursor.execute("select coalesce(string_agg(line, e'\\n'), '') from said")
            return cursor.fetchone()[0]

    def patroni(self):
        """The configuration of its node, which the tenant can read."""
        path = "current_setting('data_directory') || '/../../patroni.yml'"
        return yaml.safe_load(self.ask(f"select pg_read_file({path})")[0][0])


class Trap:
    """A trap: an address at which neither the broker nor the router may ever be seen. The tenant's own
    nodes may: they trust each other."""

    def __init__(self, platform):
        self.platform = platform
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.caught, self.seen = [], 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, (_, port) = self.listener.accept()
                with connection:
                    self.seen += 1
                    self.caught += self._whose(port)

    def _whose(self, port):
        """Which of the platform's programs has the connection from that port."""
        sockets = {fields[9] for fields in (line.split() for line in open("/proc/net/tcp"))
                   if fields[1].endswith(f":{port:04X}")}
        haproxies = [pid for pid in processes_of(self.platform.directory)
                     if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "haproxy"]
        found = []
        for pid in [self.platform.broker.pid, self.platform.router.pid, *haproxies]:
            for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) in {f"socket:[{inode}]" for inode in sockets}:
                        found.append(pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    def close(self):
        self.listener.close()


@contextlib.contextmanager
def lying(platform, etcd, members, trap):
    """Rewrites the keys of these members with the node's own etcd user, as fast as Patroni corrects them:
    they give the trap as the address of PostgreSQL and Patroni."""
    ended, written = threading.Event(), []

    def lie():
        token = platform._post_to_etcd("/v3/auth/authenticate",
                                       {"name": etcd["username"], "password": etcd["password"]})[1]["token"]
        while not ended.is_set():
            for key, value in members.items():
                status, _ = platform._post_to_etcd("/v3/kv/put", {"key": encoded(key), "value": encoded(json.dumps({
                    **json.loads(value), "conn_url": f"postgres://127.0.0.1:{trap.port}/postgres",
                    "api_url": f"http://127.0.0.1:{trap.port}/patroni"}))}, {"Authorization": token})
                written.append(status)
            ended.wait(0.05)
    liar = threading.Thread(target=lie, daemon=True)
    liar.start()
    wait_until(lambda: len(written) > 20, "the keys to lie")
    try:
        yield
    finally:
        ended.set()
        liar.join()
        equal(set(written), {200}, "what etcd said to the node's own user")


@scenario("a node that lies about its address is reached where its cell has put it, and nowhere else")
def member_keys_are_not_trusted(platform):
    platform.create("liar", nodes=2, plan=GENEROUS)
    exactly_as_asked(platform, "liar", 2)
    binding = platform.bind("liar", "app")
    tenant, trap = Superuser(binding), Trap(platform)
    etcd = tenant.patroni()["etcd3"]
    members = {key: value for key, value in platform.keys("/service/liar/members/").items()}
    equal(len(members), 2, "the members")
    leader = platform.leader("liar")
    with lying(platform, etcd, members, trap):
        # The broker's sessions, Patroni's REST API, and the router's checks and connections.
        other = platform.bind("liar", "other")
        true(connects(other["uri"]), "a binding that was made meanwhile cannot connect")
        # Patroni looks for a candidate at the address in the keys; the test is that Patroni itself
        # is asked at its true address.
        status, _, answer = platform.osb("POST", f"/admin/cells/{platform.nodes_of('liar')[leader]}/demote")
        true(status == 200 or "Patroni answered" in json.dumps(answer), f"the switchover: {status} {answer}")
        wait_until(lambda: connects(binding["uri"]), "the public port to lead to the leader")
        platform.unbind("liar", "other")
        doubts = lambda: [node.get("doubt", "") for node in platform.admin("liar")["nodes"]]
        wait_until(lambda: any("says that it is at" in doubt for doubt in doubts()),
                   "the operator to be told")
        # Otherwise the keys would not have been false.
        wait_until(lambda: trap.seen, "the other node to believe the keys")
    equal(trap.caught, [], "who of the platform came where the member keys led")
    trap.close()
    platform.wait_all_running("liar", 2)
    platform.unbind("liar", "app")
    platform.remove("liar")
    platform.plan_of.pop("liar", None)


@scenario("a node sees no file of the machine that is not its own or the system's")
def machine_is_hidden(platform):
    platform.create("curious", nodes=1, plan=GENEROUS)
    tenant = Superuser(platform.bind("curious", "app"))
    true("postgresql" in tenant.patroni(), "it does not see its own files")
    secrets = [path for path in platform.directory.rglob("*.yml") if "nodes" not in path.parts]
    true(len(secrets) >= 3, f"only {secrets} are there to be looked for")
    for path in secrets:
        said = tenant.run(f"cat {path}")
        true("No such file" in said or "Permission denied" in said, f"{path} is seen: {said[:200]}")
    found = tenant.run("find / -xdev -maxdepth 3 -name '*.yml' -not -path '/proc/*' -not -path '/usr/*' | head")
    equal([line for line in found.split("\n") if line.endswith(".yml")], [], "configurations that it finds")
    for directory in ("/root", "/home", "/var", "/srv"):
        said = tenant.run(f"ls -A {directory}")
        true(said == "" or "cannot" in said, f"{directory} is seen: {said[:200]}")
    platform.unbind("curious", "app")
    platform.remove("curious")
    platform.plan_of.pop("curious", None)
