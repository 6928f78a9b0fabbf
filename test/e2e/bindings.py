"""A role for each binding, in real PostgreSQL: what applications may do, and that the role ends with the
binding."""

import contextlib
import datetime
import json
import os
import re
import signal
import time
import urllib.parse

import psycopg2
import psycopg2.extensions

from checks import connects, equal, exactly_as_asked, json_error, rows_of, scenario, sqlstate, true
from offers import GENEROUS, LASTING, SHARED, STRICT
from waiting import Failed, wait_until

PLATFORM = STRICT

# name -> (nodes, plan) of the instances that the scenarios share.
INSTANCES = {"pair": (2, None), "alone": (1, LASTING), "open": (1, GENEROUS), "same": (1, SHARED)}


def shared(platform):
    """Creates them, all at a time."""
    if "alone" not in platform.plan_of:
        for name, (nodes, plan) in INSTANCES.items():
            platform.provision(name, nodes, **({"plan": plan} if plan else {}))
        for name in INSTANCES:
            platform.wait_operation(name).must_succeed()
    for name in INSTANCES:  # what a scenario left that failed
        for text in platform.keys(f"/service/{name}/bindings/").values():
            platform.unbind(name, json.loads(text)["binding_id"])


def finish(platform):
    """Removes them, with the bindings that a failed scenario left."""
    names = [entry["instance_id"] for entry in platform.osb("GET", "/admin/service_instances")[2]]
    for name in names:
        platform.deprovision(name)
    for name in names:
        platform.wait_operation(name).must_succeed()
    platform.plan_of.clear()


def session(uri):
    """An open connection, as an application keeps one."""
    connection = psycopg2.connect(uri, connect_timeout=60)
    connection.autocommit = True
    return connection


def role_names(platform, instance, node=None):
    rows = platform.ask_node(node or platform.leader(instance), "select rolname from pg_roles")
    return {row[0] for row in rows}


def wait_answers(platform, node):
    """Waits until a node accepts connections: its member key may be from before its machine died."""
    def answers():
        with contextlib.suppress(psycopg2.OperationalError):
            return platform.ask_node(node, "select true")
        return None
    wait_until(answers, f"node {node} to answer")


@scenario("two applications share tables, and each may alter what the other made; each has its own role")
def two_applications(platform):
    shared(platform)
    first, second = platform.bind("pair", "first"), platform.bind("pair", "second", app_guid="2")
    true(first["username"] != second["username"] and first["password"] != second["password"],
         "both have one role")
    rows_of(first["uri"], "create table common (number int); insert into common values (1)")
    rows_of(second["uri"], "alter table common add column words text; insert into common values (2, 'two')")
    rows_of(first["uri"], "update common set words = 'one' where number = 1; create index on common (words)")
    equal(rows_of(second["uri"], "select number, words from common order by 1"), [(1, "one"), (2, "two")], "the rows")
    owner = platform.record("pair")["app_credentials"]["username"]
    equal(rows_of(first["uri"], "select tableowner from pg_tables where tablename = 'common'"), [(owner,)],
          "the owner of the table")

    with contextlib.closing(session(first["uri"])) as still_open:
        still_open.cursor().execute("select 1")
        platform.unbind("pair", "first")
        try:
            still_open.cursor().execute("select 1")
            raise Failed("the session of the binding that was ended goes on")
        except psycopg2.Error as error:
            true(still_open.closed, f"the session goes on after {error}")
    true(not connects(first["uri"]), "its old password is accepted")
    true(first["username"] not in role_names(platform, "pair"), "its role is still there")
    rows_of(second["uri"], "alter table common drop column words; insert into common values (3)")
    equal(rows_of(second["uri"], "select count(*) from common"), [(3,)], "the rows the other has")
    rows_of(second["uri"], "drop table common")
    platform.unbind("pair", "second")
    true(not connects(second["uri"]), "the second's password is accepted after its end")


@scenario("objects that a removed application made and owned itself stay, and belong to all")
def handed_over(platform):
    shared(platform)
    first = platform.bind("pair", "first")
    # An application that takes its own role makes objects that belong to that role, not to the
    # owner.
    rows_of(first["uri"], "reset role; set role none; create table if not exists own (number int); "
                          "insert into own values (1)")
    rows_of(first["uri"], "create schema s; create table s.t (n int); create view v as select 1 as n; "
                          "create function f() returns int language sql as 'select 1'; create type mood as enum ('a')")
    # Policies that name the role must not delay its removal either.
    rows_of(first["uri"], "create table guarded (n int); alter table guarded enable row level security; "
                          f"create policy p on guarded to \"{first['username']}\"")
    platform.unbind("pair", "first")
    second = platform.bind("pair", "second")
    rows_of(second["uri"], "alter table own add column words text; drop table own; drop schema s cascade; "
                           "drop view v; drop function f(); drop type mood; drop table guarded")
    platform.unbind("pair", "second")


@scenario("a successor binding works beside its predecessor, and after the predecessor's end")
def rotation(platform):
    shared(platform)
    old = platform.bind("pair", "old")
    rows_of(old["uri"], "create table rotated (number int)")
    new = platform.bind("pair", "new", predecessor_binding_id="old")
    true(connects(old["uri"]) and connects(new["uri"]), "not both work")
    true(old["username"] != new["username"] and old["password"] != new["password"], "they have one role")
    rows_of(new["uri"], "insert into rotated values (1)")
    rows_of(old["uri"], "insert into rotated values (2)")
    platform.unbind("pair", "old")
    true(not connects(old["uri"]), "the old one still works")
    rows_of(new["uri"], "alter table rotated add column words text; drop table rotated")
    platform.unbind("pair", "new")


@scenario("a read-only binding reads from a replica by a port of its own, and cannot write")
def read_only(platform):
    shared(platform)
    writer = platform.bind("pair", "writer")
    answer = platform.bound("pair", "reader", parameters={"read-only": True})
    reader = answer["credentials"]
    rows_of(writer["uri"], "create table readable (number int); insert into readable values (1)")
    port = platform.read_only_port("pair")
    true(port is not None and port != platform.public_port("pair"), f"the second public port is {port}")
    equal(int(reader["port"]), port, "the port of the credentials")
    wait_until(lambda: reads(reader["uri"]) == [(True, 1)], "the second port to lead to a replica that has the row")
    on_leader = reader["uri"].replace(f":{port}/", f":{platform.public_port('pair')}/")
    for statement in ("insert into readable values (2)", "create table more (n int)", "delete from readable",
                      "truncate readable", "drop table readable"):
        state = sqlstate(on_leader, "set default_transaction_read_only = off; set transaction read write; " + statement)
        true(state in ("42501", "25006"), f"{statement!r} of a read-only role on the leader: {state}")
    equal(rows_of(on_leader, "select count(*) from readable"), [(1,)], "the rows afterwards")
    # Tables made after the binding can be read too.
    rows_of(writer["uri"], "create schema later; create table later.t as select 7 as n")
    equal(rows_of(on_leader, "select n from later.t"), [(7,)], "a later table")

    # Without a replica the port leads to the leader.
    platform.update("pair", node_count=1)
    platform.wait_operation("pair").must_succeed()
    wait_until(lambda: reads(reader["uri"]) == [(False, 1)], "the second port to lead to the only node")
    platform.update("pair", node_count=2)
    platform.wait_operation("pair").must_succeed()
    wait_until(lambda: reads(reader["uri"]) == [(True, 1)], "the second port to lead to the new replica")
    exactly_as_asked(platform, "pair", 2)
    rows_of(writer["uri"], "drop table readable; drop schema later cascade")
    platform.unbind("pair", "reader")
    true(not connects(on_leader), "the read-only role works after its end")
    platform.unbind("pair", "writer")


def reads(uri):
    try:
        return rows_of(uri, "select pg_is_in_recovery(), count(*) from readable")
    except psycopg2.Error:
        return None


@scenario("the credentials work unchanged, in every form in which they are given")
def forms(platform):
    shared(platform)
    given = platform.bind("alone", "forms")
    plain = {"host": given["host"], "port": int(given["port"]), "dbname": given["name"],
             "user": given["username"], "password": given["password"]}
    equal({**psycopg2.extensions.parse_dsn(given["uri"]), "port": plain["port"]}, plain, "the uri, taken apart")
    for uri in (given["uri"], psycopg2.extensions.make_dsn(**plain)):
        equal(rows_of(uri, "select session_user::text, current_database()::text"),
              [(given["username"], given["name"])], "who is connected to what")
    true(given["jdbcUrl"].startswith("jdbc:postgresql://"), "the jdbcUrl's beginning")
    parts = urllib.parse.urlsplit(given["jdbcUrl"].removeprefix("jdbc:"))
    query = dict(urllib.parse.parse_qsl(parts.query))
    equal((parts.hostname, parts.port, parts.path[1:], query["user"], query["password"]),
          tuple(plain[name] for name in ("host", "port", "dbname", "user", "password")), "the jdbcUrl, taken apart")
    equal(platform.bind("alone", "forms", expect=200), given, "the credentials of the same bind again")
    platform.bind("alone", "forms", expect=409, app_guid="other")
    true(connects(given["uri"], sslmode="require"), "not by TLS")
    platform.unbind("alone", "forms")


@scenario("a role can open as many connections as its plan allows, and no more")
def limit(platform):
    shared(platform)
    limited, other = platform.bind("alone", "limited"), platform.bind("alone", "other")["uri"]
    uri = limited["uri"]
    # The broker has tried the login, and its session may count for a moment longer.
    wait_until(lambda: not platform.ask_node(platform.leader("alone"), "select 1 from pg_stat_activity "
                                             "where usename = %s", limited["username"]), "the role to be free")
    with contextlib.closing(session(uri)), contextlib.closing(session(uri)):
        try:
            session(uri).close()
            raise Failed("a third connection is accepted")
        except psycopg2.OperationalError as error:
            true("too many connections for role" in str(error), f"refused for another reason: {error}")
        true(connects(other), "another binding is refused too")
    platform.unbind("alone", "limited")
    platform.unbind("alone", "other")


@scenario("the end of a binding's lifetime is in its answer and in PostgreSQL")
def expiry(platform):
    shared(platform)
    now = lambda: datetime.datetime.now(datetime.timezone.utc)
    start = now()
    answer = platform.bound("alone", "timed")
    expires, renew = (datetime.datetime.fromisoformat(answer["metadata"][name].replace("Z", "+00:00"))
                      for name in ("expires_at", "renew_before"))
    days, second = datetime.timedelta(days=90), datetime.timedelta(seconds=1)
    true(start + days - second <= expires <= now() + days + second, f"it ends at {expires}")
    true(start < renew < expires, f"it is to be renewed before {renew}")
    found = platform.ask_node(platform.leader("alone"), "select rolvaliduntil from pg_roles where rolname = %s",
                              answer["credentials"]["username"])
    true(abs(found[0][0] - expires) <= second, f"PostgreSQL says {found[0][0]} instead of {expires}")
    platform.unbind("alone", "timed")


@scenario("no binding holds the superuser, unless the plan says so")
def superuser(platform):
    shared(platform)
    ordinary, generous = platform.bind("alone", "app"), platform.bind("open", "app")
    record = platform.record("alone")
    for kind in ("admin", "superuser", "app"):
        true(record[f"{kind}_credentials"]["password"] not in str(ordinary), f"the {kind} password is in a binding")
    true(not any("super" in name for name in ordinary), f"{list(ordinary)}")
    equal(rows_of(ordinary["uri"], "select rolsuper, rolcreaterole, rolreplication, rolbypassrls from pg_roles "
                                   "where rolname = session_user"), [(False,) * 4], "what the role may")
    for statement in ("create role r", "alter system set work_mem = '1MB'", "copy (select 1) to program 'true'",
                      "select pg_read_file('PG_VERSION')", "set role postgres", "alter role current_user superuser"):
        equal(sqlstate(ordinary["uri"], statement), "42501", f"{statement!r}")
    given = generous["superuser"]
    uri = psycopg2.extensions.make_dsn(host=generous["host"], port=generous["port"], dbname=generous["name"],
                                       user=given["username"], password=given["password"])
    equal(rows_of(uri, "select rolsuper from pg_roles where rolname = session_user"), [(True,)], "the superuser given")
    owner = platform.record("alone")["app_credentials"]["username"]
    equal({name: login for name, login, *_ in platform.roles("alone")}[owner], False, "whether the owner may log in")
    platform.unbind("alone", "app")
    platform.unbind("open", "app")


@scenario("a plan with shared credentials gives every binding the same user")
def same_user(platform):
    shared(platform)
    first, second = platform.bind("same", "first"), platform.bind("same", "second")
    equal(first, second, "the two credentials")
    true(connects(first["uri"]), "they do not work")
    platform.unbind("same", "first")
    true(connects(second["uri"]), "the second does not work after the first's end")
    platform.unbind("same", "second")


@scenario("a binding that shares its credentials is answered once a login with them has worked")
def same_user_tried(platform):
    shared(platform)
    first = platform.bind("same", "first")
    rows_of(first["uri"], "alter database db set local_preload_libraries = 'nope'")
    status, _, answer = platform.osb("PUT", platform.binding_path("same", "tried"), platform.ids_of("same"))
    equal(status, 503, "the answer to the bind")
    true("local_preload_libraries" in answer["description"], f"it says {answer['description']!r}")
    with contextlib.closing(psycopg2.connect(first["uri"], options="-c local_preload_libraries=")) as mine:
        mine.autocommit = True
        mine.cursor().execute("alter database db reset local_preload_libraries")
        mine.cursor().execute("alter role current_user password 'another'")
    status, _, answer = platform.osb("PUT", platform.binding_path("same", "tried"), platform.ids_of("same"))
    true(status in (200, 201), f"the next bind is answered {status} ({answer})")
    equal(answer["credentials"], first, "the credentials")
    true(connects(first["uri"]), "the credentials do not work although the bind is answered")
    for binding in ("first", "tried"):
        platform.unbind("same", binding)


@scenario("bindings whose ids have a meaning in SQL or paths are made and ended like any other")
def odd_names(platform):
    shared(platform)
    for binding in ("../x", "%2f", "'; drop role appuser; --", "\"", "\\", "🐘", "b" * 300):
        credentials = platform.bind("alone", binding)
        true(re.fullmatch(r"[A-Za-z0-9_]+", credentials["username"]), f"the username {credentials['username']}")
        true(connects(credentials["uri"]), f"{binding!r} does not work")
        platform.unbind("alone", binding)
        true(not connects(credentials["uri"]), f"{binding!r} works after its end")


class Machine:
    """A leader's machine, prepared for its death: its agent and its node are looked up beforehand."""

    def __init__(self, platform, instance):
        self.platform, self.instance = platform, instance
        self.leader = platform.wait_all_running(instance, 2)
        nodes = platform.nodes_of(instance)
        self.cell = nodes[self.leader]
        self.replica = next(node for node in nodes if node != self.leader)
        # A member's key may be from before its machine died; only the leader knows which replicas
        # stream.
        wait_until(self.is_followed, "the replica to stream")
        self.pids = [platform.cell(self.cell).pid, platform.node_pid(self.leader)]

    def is_followed(self):
        rows = self.platform.ask_node(
            self.leader, "select replay_lsn from pg_stat_replication where state = 'streaming' and "
            "application_name = %s", self.replica)
        return rows and rows[0][0]

    def end(self, answered):
        """kill -9 of both; `answered` is when the broker's answer was there."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        print(f"       killed {(time.monotonic() - answered) * 1000:.1f} ms after the answer")
        self.platform.cell(self.cell).running.wait()

    def wait_other_leader(self):
        return wait_until(lambda: self.platform.leader(self.instance) == self.replica, "the replica to lead")

    def start(self):
        self.platform.start_machine(self.cell)
        exactly_as_asked(self.platform, self.instance, 2)
        self.platform.wait_cells_seen()


@scenario("a binding outlives a leader that dies right after the answer; a bind during the failover waits and works")
def bind_and_failover(platform):
    shared(platform)
    machine = Machine(platform, "pair")
    before = platform.bind("pair", "before")
    machine.end(time.monotonic())
    during = platform.bind("pair", "during")  # while there is no leader
    machine.wait_other_leader()
    for name, credentials in (("before", before), ("during", during)):
        true(connects(credentials["uri"]), f"the binding made {name} the failover does not work")
        rows_of(credentials["uri"], f"create table made_{name} (n int); drop table made_{name}")
    machine.start()
    for name in ("before", "during"):
        platform.unbind("pair", name)


@scenario("a revoked role stays gone although the leader dies right after the answer")
def unbind_and_failover(platform):
    shared(platform)
    ended, kept = platform.bind("pair", "ended"), platform.bind("pair", "kept")
    machine = Machine(platform, "pair")
    platform.unbind("pair", "ended")
    machine.end(time.monotonic())
    machine.wait_other_leader()
    true(connects(platform.bind("pair", "later")["uri"]), "a bind after the failover does not work")
    true(connects(kept["uri"]), "the binding that was kept does not work")
    true(not connects(ended["uri"]), "the role that was ended is back")
    machine.start()
    for node in platform.nodes_of("pair"):
        wait_answers(platform, node)
        true(ended["username"] not in role_names(platform, "pair", node), f"the role that was ended is on {node}")
    for binding in ("kept", "later"):
        platform.unbind("pair", binding)


@scenario("a bind to an instance of one node notes that no replica has the role")
def no_replica(platform):
    shared(platform)
    answer = platform.bound("alone", "app")
    words = str({name: value for name, value in answer.items() if name != "credentials"})
    true("replica" in words, f"nothing is said of replicas: {words}")
    platform.unbind("alone", "app")


@scenario("a broker that was killed in the middle of a bind or an unbind finishes it")
def killed_in_the_middle(platform):
    shared(platform)
    leader = platform.leader("alone")
    ids = platform.ids_of("alone")
    path = platform.binding_path("alone", "app")
    for method, body, query in (("PUT", ids, {"accepts_incomplete": "true"}),
                                ("DELETE", None, {**ids, "accepts_incomplete": "true"})):
        with contextlib.closing(platform.connect(leader)) as connection:
            connection.autocommit = False
            connection.cursor().execute("lock table pg_catalog.pg_authid in exclusive mode")
            status, _, answer = platform.osb(method, path, body, query)
            equal(status, 202, f"{method} while no role can be changed ({answer})")
            platform.restart_broker(kill9=True)
            connection.rollback()
        operation = platform.wait_operation("alone", binding="app")
        equal(operation.state, "succeeded" if method == "PUT" else "gone", f"the end of {method}")
        if method == "PUT":
            given = platform.osb("GET", path)[2]["credentials"]
            true(connects(given["uri"]), "the credentials do not work")
    true(not connects(given["uri"]), "the credentials work after the end")
    answer = platform.osb("GET", path)
    equal(answer[0], 404, "fetching it")
    json_error(answer, "fetching it")
