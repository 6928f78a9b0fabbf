"""What applications read, see and end, with the roles that they log in as."""

import contextlib
import json
import os
import subprocess

import psycopg2

from checks import equal, rows_of, scenario, sqlstate, true
from offers import STRICT
from waiting import wait_until

PLATFORM = STRICT


def shared(platform):
    """An instance for all scenarios."""
    if not platform.osb("GET", "/admin/service_instances")[2]:
        platform.provision("read", 2)
        platform.wait_operation("read").must_succeed()
    for text in platform.keys("/service/read/bindings/").values():  # what a scenario left that failed
        platform.unbind("read", json.loads(text)["binding_id"])


def finish(platform):
    platform.deprovision("read")
    platform.wait_operation("read").must_succeed()
    platform.plan_of.clear()


def session(uri):
    """An open connection, as an application keeps one."""
    connection = psycopg2.connect(uri, connect_timeout=60)
    connection.autocommit = True
    return connection


def on_leader(platform, reader):
    """The reader's credentials, at the port that leads to the leader."""
    return reader["uri"].replace(f":{reader['port']}/", f":{platform.public_port('read')}/")


def answer(connection, sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@scenario("a read-only binding dumps everything, with large objects made a moment ago and rows behind policies")
def dumps(platform):
    shared(platform)
    writer = platform.bind("read", "writer")
    rows_of(writer["uri"], "select lo_from_bytea(0, 'before')")
    reader = platform.bind("read", "reader", parameters={"read-only": True})
    uri = on_leader(platform, reader)
    rows_of(writer["uri"], "select lo_from_bytea(0, 'after')")
    equal(rows_of(uri, "select count(lo_get(oid)) from pg_largeobject_metadata"), [(2,)], "the large objects read")
    rows_of(writer["uri"], "create schema s; create table s.t as select 1 as n; create view s.v as select * from s.t;"
                           "alter table s.t enable row level security")
    # The readers' port may lead to the leader first, which has the view before the replica does.
    wait_until(lambda: sqlstate(reader["uri"], "select 1 / pg_is_in_recovery()::int, * from s.v") is None,
               "the readers' port to lead to the replica, which has the view")
    for to in (uri, reader["uri"]):
        dump = subprocess.run(["pg_dump", "--dbname", to], capture_output=True, text=True,
                              env={**os.environ, "PGCONNECT_TIMEOUT": "60"})
        equal((dump.returncode, dump.stderr), (0, ""), "pg_dump")
        true("COPY s.t (n) FROM stdin;\n1\n" in dump.stdout and "6265666f7265" in dump.stdout,
             f"the dump lacks something: {dump.stdout[-3000:]}")
        true("matriarch" not in dump.stdout, "the dump has what is ours")
    rows_of(writer["uri"], "drop schema s cascade; select lo_unlink(oid) from pg_largeobject_metadata")
    platform.unbind("read", "reader")
    platform.unbind("read", "writer")


@scenario("after a wipe and a migration a new read-only binding reads everything, and so do earlier ones")
def wiped(platform):
    shared(platform)
    writer = platform.bind("read", "writer")
    first = platform.bind("read", "first", parameters={"read-only": True})
    for number, wipe in enumerate(("drop schema public cascade; create schema public; "
                                   "grant all on schema public to public",
                                   "drop owned by current_user; create schema if not exists public",
                                   "revoke all on all tables in schema public from public, "
                                   "{owner}_readers; revoke all on schema public from {owner}_readers")):
        owner = platform.record("read")["app_credentials"]["username"]
        rows_of(writer["uri"], "drop table if exists t, own; " + wipe.format(owner=owner))
        rows_of(writer["uri"], "create table if not exists t (n serial)")
        rows_of(writer["uri"], "set role none; create table own (n int)")
        second = platform.bind("read", f"second{number}", parameters={"read-only": True})
        for reader in (first, second):
            uri = on_leader(platform, reader)
            rows_of(uri, "select * from t; select * from own; select last_value from t_n_seq")
            for statement in ("create table mine (n int)", "insert into t values (1)", "select nextval('t_n_seq')",
                              "create temporary table mine (n int)", "select pg_logical_emit_message(false, 'a', 'b')"):
                state = sqlstate(uri, "set default_transaction_read_only = off; set transaction read write; "
                                      + statement)
                equal(state, "42501", f"{statement!r} after {wipe!r}")
        platform.unbind("read", f"second{number}")
    rows_of(writer["uri"], "drop table t, own")
    platform.unbind("read", "first")
    platform.unbind("read", "writer")


@scenario("an application sees and ends the sessions of its instance's applications, and no others")
def sessions(platform):
    shared(platform)
    one, two = platform.bind("read", "one"), platform.bind("read", "two")
    for victims in (one, two):
        with contextlib.closing(session(victims["uri"])) as victim, contextlib.closing(session(one["uri"])) as mine:
            pid = victim.info.backend_pid
            answer(victim, "/* a query */ select 1")
            true("a query" in answer(mine, f"select query from pg_stat_activity where pid = {pid}")[0][0],
                 "the query is not shown")
            answer(mine, "set search_path = nowhere")
            equal(answer(mine, f"select pg_cancel_backend({pid}), pg_terminate_backend({pid}, 60000)"),
                  [(True, True)], "what it may")
            try:
                answer(victim, "select 1")
                true(False, "the session goes on")
            except psycopg2.Error:
                pass
    owner = platform.record("read")["app_credentials"]["username"]
    others = lambda: rows_of(
        one["uri"], "select pid from pg_stat_activity a where backend_type in ('client backend', 'walsender') and not "
                    f"pg_has_role(a.usesysid, '{owner}', 'member') or a.usesysid in "
                    "(select oid from pg_roles where rolsuper or rolreplication)")

    def are_refused():
        """Tries such a function; the broker's own sessions may end by themselves, and a session that has
        ended is no refusal."""
        said = [ends(one["uri"], function, pid) for (pid,) in others()
                for function in ("pg_cancel_backend", "pg_terminate_backend")]
        true(set(said) <= {"42501", False}, f"what is said of sessions not its own: {said}")
        return said.count("42501") >= 4
    wait_until(are_refused, "Patroni's session and its replica's to be seen, and not to be ended")
    platform.unbind("read", "one")
    platform.unbind("read", "two")


def ends(uri, function, pid):
    """The result of such a function for a session: the SQLSTATE, or whether it ended a session."""
    try:
        return rows_of(uri, f"select {function}({pid})")[0][0]
    except psycopg2.Error as error:
        return error.pgcode


@scenario("a report on the readers' port is not ended by a vacuum on the leader")
def report(platform):
    shared(platform)
    writer = platform.bind("read", "writer")
    reader = platform.bind("read", "report", parameters={"read-only": True})
    rows_of(writer["uri"], "create table t with (autovacuum_enabled = off) as select generate_series(1, 1000) as n")
    on_replica = lambda: sqlstate(reader["uri"], "select 1 / pg_is_in_recovery()::int, * from t") is None
    wait_until(on_replica, "the readers' port to lead to the replica, which has the table")
    with contextlib.closing(psycopg2.connect(reader["uri"], connect_timeout=60)) as open_report:
        open_report.set_session(isolation_level="REPEATABLE READ")
        equal(answer(open_report, "select count(*), pg_is_in_recovery() from t"), [(1000, True)], "the first rows")
        with contextlib.closing(session(writer["uri"])) as busy:
            for statement in ("update t set n = n + 1", "vacuum t"):
                answer(busy, statement)
        position = rows_of(writer["uri"], "select pg_current_wal_lsn()::text")[0][0]
        replayed = lambda: rows_of(reader["uri"],
                                   f"select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn")[0][0]
        wait_until(replayed, "the replica to replay the vacuum")
        equal(answer(open_report, "select count(*), min(n) from t"), [(1000, 1)], "the report's rows")
    rows_of(writer["uri"], "drop table t")
    platform.unbind("read", "report")
    platform.unbind("read", "writer")
