"""A tenant's attacks on its own instance: they delay no other binding, and nothing outlives its binding."""

import contextlib
import json
import threading
import time

import psycopg2
import psycopg2.extras

from checks import connects, equal, rows_of, scenario, true
from offers import STRICT
from waiting import Failed, wait_until

PLATFORM = STRICT


def shared(platform):
    if not platform.keys("/service/pair/state"):
        platform.provision("pair", 2)
        platform.wait_operation("pair").must_succeed()
    for text in platform.keys("/service/pair/bindings/").values():  # what a scenario left that failed
        platform.unbind("pair", json.loads(text)["binding_id"])


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()
    platform.plan_of.clear()


def session(credentials, async_=False):
    connection = psycopg2.connect(credentials["uri"], connect_timeout=60, async_=async_)
    if async_:
        psycopg2.extras.wait_select(connection)
    else:
        connection.autocommit = True
    return connection


def run_on(connection, *statements):
    """Runs statements in a session whose calls do not block."""
    for statement in statements:
        cursor = connection.cursor()
        cursor.execute(statement)
        psycopg2.extras.wait_select(connection)


def run(connection, *statements):
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    return cursor.fetchall() if cursor.description else []


def unbind(platform, binding):
    """Unbinds as a platform that polls. Returns when the unbind was accepted."""
    status, _, answer = platform.osb("DELETE", platform.binding_path("pair", binding), None,
                                     {**platform.ids_of("pair"), "accepts_incomplete": "true"})
    true(status in (200, 202), f"the unbind is answered {status} ({answer})")
    return time.monotonic()


def refused(credentials, since, *passwords):
    """Checks that no login works any more, with its own password or one that it set, and that this stays
    so."""
    tried = lambda: [connects(credentials["uri"], password=password)
                     for password in (credentials["password"], *passwords)]
    wait_until(lambda: not any(tried()), "its logins to be refused")
    print(f"       refused at the latest {time.monotonic() - since:.2f} s after the unbind was accepted")
    for _ in range(3):
        true(not any(tried()), "a login works after one was refused")


def others_work(platform, kept, name):
    """Checks that another binding goes on, and that one can be made and ended at once."""
    rows_of(kept["uri"], "select 1")
    start = time.monotonic()
    given = platform.bind("pair", name)
    true(connects(given["uri"]), "a new binding does not work")
    platform.unbind("pair", name)
    print(f"       meanwhile bound and unbound in {time.monotonic() - start:.2f} s")
    true(not connects(given["uri"]), "the other binding works after its end")


def gone(platform, binding):
    equal(platform.wait_operation("pair", binding=binding).state, "gone", f"the end of {binding}")


@scenario("a binding that keeps its own role locked can be ended, and no other waits for it")
def own_row(platform):
    shared(platform)
    held, kept = platform.bind("pair", "held"), platform.bind("pair", "kept")
    with contextlib.closing(session(held)) as holder:
        run(holder, "set role none", "begin", "alter role current_user password 'mine'")
        since = unbind(platform, "held")
        refused(held, since, "mine")
        others_work(platform, kept, "other")
        gone(platform, "held")
        refused(held, since, "mine")
    platform.unbind("pair", "kept")


def no_lock_is_left(credentials):
    try:
        psycopg2.connect(credentials["uri"], connect_timeout=10).close()
        return False
    except psycopg2.OperationalError as error:
        return "out of shared memory" in str(error)


def take_all_locks(credentials, over):
    """Takes locks whenever it can log in, for as long as it can."""
    while not over.is_set():
        with contextlib.suppress(psycopg2.Error), contextlib.closing(session(credentials)) as holder:
            with contextlib.suppress(psycopg2.errors.OutOfMemory):  # it keeps the locks that it got
                run(holder, "select count(pg_advisory_lock(n)) from generate_series(1, 1000000) n")
            while not over.wait(0.1):
                run(holder, "select 1")
        over.wait(0.01)


@scenario("a binding that keeps all logins out by its locks can be ended, however often it comes back")
def all_locks(platform):
    shared(platform)
    held, kept = platform.bind("pair", "held"), platform.bind("pair", "kept")
    over = threading.Event()
    holder = threading.Thread(target=take_all_locks, args=(held, over))
    holder.start()
    try:
        wait_until(lambda: no_lock_is_left(kept), "the table of locks to be full")
        since = unbind(platform, "held")
        gone(platform, "held")
        print(f"       gone {time.monotonic() - since:.2f} s after the unbind was accepted")
        true(not connects(held["uri"]), "the credentials still work")
        others_work(platform, kept, "other")
    finally:
        over.set()
        holder.join()
    platform.unbind("pair", "kept")


@scenario("locks of a live binding do not keep a revoked binding's login alive")
def locks_of_another(platform):
    shared(platform)
    held, greedy = platform.bind("pair", "held"), platform.bind("pair", "greedy")
    for left in (0, 6, 9):  # a login takes fewer locks than adding a member to a group
        with contextlib.closing(session(greedy)) as holder:
            with contextlib.suppress(psycopg2.errors.OutOfMemory):
                run(holder, "select count(pg_advisory_lock(n)) from generate_series(1, 1000000) n")
            run(holder, f"select count(pg_advisory_unlock(n)) from generate_series(1, {left}) n")
            since = unbind(platform, "held")
            time.sleep(max(0, since + 1 - time.monotonic()))
            over = time.monotonic() + 4
            tries = 0
            while time.monotonic() < over:
                with contextlib.suppress(psycopg2.OperationalError):  # with a full lock table nobody is told more
                    psycopg2.connect(held["uri"], connect_timeout=10).close()
                    raise Failed(f"a login works {time.monotonic() - since:.1f} s after the unbind")
                tries += 1
            print(f"       {left} locks left: none of {tries} logins works from the 1st to the 5th second")
        gone(platform, "held")
        true(not connects(held["uri"]), "a login works after the end of the binding")
        held = platform.bind("pair", "held")
    platform.unbind("pair", "held")
    platform.unbind("pair", "greedy")


@scenario("a binding that keeps all logins out of a replica by its locks there can be ended")
def all_locks_of_a_replica(platform):
    shared(platform)
    held, reader = platform.bind("pair", "held"), platform.bind("pair", "reads", parameters={"read-only": True})
    wait_until(lambda: on_replica(reader) is True, "the readers' port to lead to the replica")
    there = held["uri"].replace(f":{held['port']}/", f":{reader['port']}/")
    with contextlib.closing(session({"uri": there})) as holder:
        try:
            run(holder, "select count(pg_advisory_lock(n)) from generate_series(1, 1000000) n")
        except psycopg2.errors.OutOfMemory:
            pass
        true(no_lock_is_left(reader), "the table of locks is not full")
        since = unbind(platform, "held")
        wait_until(lambda: not no_lock_is_left(reader), "the locks to be free")
        print(f"       let in again {time.monotonic() - since:.2f} s after the unbind was accepted")
        gone(platform, "held")
    platform.unbind("pair", "reads")


def busy(platform, credentials):
    return platform.ask_node(platform.leader("pair"), "select true from pg_stat_activity where state = 'active' "
                             "and query ~ 'SCRAM' and usename = %s", credentials["username"])


def verifier(iterations, salt="QUFB" * 5 + "QQ=="):
    return f"SCRAM-SHA-256${iterations}:{salt}${'A' * 43}=:{'A' * 43}="


@scenario("a session that does not end is reported for its own binding, whose login is still refused")
def endless_session(platform):
    shared(platform)
    held, kept = platform.bind("pair", "held"), platform.bind("pair", "kept")
    with contextlib.closing(session(held, async_=True)) as holder:
        # PostgreSQL checks for some seconds whether the verifier is an empty password's, and
        # handles no signals in that time.
        run_on(holder, "set role none", "begin", "alter role current_user password 'mine'")
        cursor = holder.cursor()
        cursor.execute(f"alter role current_user password '{verifier(5_000_000)}'")
        wait_until(lambda: busy(platform, held), "the session to be at it")
        since = unbind(platform, "held")
        refused(held, since, "mine")
        others_work(platform, kept, "other")
        words = lambda: platform.last_operation("pair", "held")[1].get("description", "")
        wait_until(lambda: "does not end" in words(), "last_operation to name the session")
        print(f"       named {time.monotonic() - since:.1f} s after the unbind: {words()}")
        refused(held, since, "mine")
        gone(platform, "held")
    platform.unbind("pair", "kept")


@scenario("a verifier that a tenant sets itself neither stops the broker nor outlives the next change of roles")
def verifiers(platform):
    shared(platform)
    first = platform.bind("pair", "first")
    for written in (verifier(4096, "=" * 24), verifier(4096, "="), verifier(300_000)):
        with contextlib.closing(session(first)) as tenant:
            run(tenant, "set role none", f"alter role current_user password '{written}'")
        true(connects(platform.bind("pair", "second")["uri"]), f"a bind after {written}")
        wait_until(lambda: connects(first["uri"]), "its own password to work again")
        platform.unbind("pair", "second")
    platform.unbind("pair", "first")


@scenario("a bind fails if a setting of the database keeps its login from working, and names the setting")
def broken_database(platform):
    shared(platform)
    first = platform.bind("pair", "first")
    with contextlib.closing(session(first)) as tenant:
        run(tenant, "alter database db set local_preload_libraries = 'nope'")
        status, _, answer = platform.osb("PUT", platform.binding_path("pair", "second"), platform.ids_of("pair"))
        true(status not in (200, 201), "a binding that does not work is said to be made")
        true("local_preload_libraries" in answer.get("description", ""), f"the answer does not name it: {answer}")
        run(tenant, "alter database db reset local_preload_libraries")
    # The bind goes on.
    wait_until(lambda: platform.osb("GET", platform.binding_path("pair", "second"))[0] == 200, "the binding to be made")
    true(connects(platform.bind("pair", "second", expect=200)["uri"]), "the binding does not work")
    for name in ("first", "second"):
        platform.unbind("pair", name)


@scenario("a replica that a reader delays gets no new connections until it has a revocation")
def held_back(platform):
    shared(platform)
    writer = platform.bind("pair", "writer")
    reader, other = (platform.bind("pair", name, parameters={"read-only": True}) for name in ("reader", "other"))
    rows_of(writer["uri"], "create table shown (n int)")
    wait_until(lambda: on_replica(other) is True, "the readers' port to lead to the replica")
    wait_until(lambda: sees(other, "shown"), "the replica to have the table")
    with contextlib.closing(session(other)) as report:
        run(report, "begin", "select * from shown")
        rows_of(writer["uri"], "drop table shown")  # which the replica replays once no query reads the table any more
        since = unbind(platform, "reader")
        refused(reader, since)
        wait_until(lambda: on_replica(other) is False, "the readers' port to lead to the leader")
        equal(run(report, "select 1"), [(1,)], "what the report reads meanwhile")
        run(report, "commit")
    gone(platform, "reader")
    refused(reader, since)
    wait_until(lambda: on_replica(other) is True, "the readers' port to lead to the replica again")
    for name in ("writer", "other"):
        platform.unbind("pair", name)


def on_replica(credentials):
    """Whether the port leads to a replica; None while it leads nowhere, as it may during the change."""
    with contextlib.suppress(psycopg2.OperationalError):
        return rows_of(credentials["uri"], "select pg_is_in_recovery()")[0][0]
    return None


def sees(credentials, table):
    return rows_of(credentials["uri"], f"select true from pg_tables where tablename = '{table}'")
