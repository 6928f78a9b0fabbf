"""Changes of plan that cannot be done: they fail with an explanation, and every node runs as before."""

import contextlib
import copy
import os
import pathlib
import shutil
import signal

import psycopg2

from checks import (connects, equal, exactly_as_asked, json_error, nothing_changes, rows_of, scenario, true)
from layout import PLAN, SERVICE
from waiting import wait_until

# With these settings no node starts: no machine has that much memory.
HUGE = "7a1e0001-0000-4000-8000-000000000001"
# With these settings a node starts only if a library is in its data directory.
LIBRARY_NEEDED = "7a1e0002-0000-4000-8000-000000000002"
# These settings need a restart, and an update to this plan has to be done within a few seconds.
HURRIED = "7a1e0003-0000-4000-8000-000000000003"
LIBRARY = "libraries/test.so"
# PostgreSQL itself says what is wrong with these, so that nothing has to be tried.
MISTAKEN = "7a1e0004-0000-4000-8000-000000000004"
MISTAKES = {"work_mme": "4MB", "wal_compression": "brotli", "maintenance_work_mem": "4XB",
            "shared_preload_libraries": "nosuch"}


def edit(kind, configuration):
    if kind != "broker":
        return
    service = configuration["catalog"]["services"][0]
    service["plan_updateable"] = True

    def offer(identity, name, parameters, **more):
        plan = copy.deepcopy(service["plans"][0])
        plan.update(id=identity, name=name, **more)
        plan["provision"].setdefault("parameters", {}).update(parameters)
        service["plans"].append(plan)

    offer(HUGE, "huge", {"shared_buffers": "7TB"})
    offer(LIBRARY_NEEDED, "library-needed", {"shared_buffers": "24MB", "shared_preload_libraries": LIBRARY})
    offer(MISTAKEN, "mistaken", MISTAKES)
    offer(HURRIED, "hurried", {"shared_buffers": "32MB"}, maximum_polling_duration=20)


PLATFORM = {"edit": edit}
# PostgreSQL marks settings that were added, never taken up, and removed again.
WAITING = ("select count(*) from pg_settings s where pending_restart and (source = 'configuration file'"
           " or exists (select from pg_file_settings f where f.name = s.name))")
WATCHED = ("shared_buffers", "shared_preload_libraries")


def has(platform, instance):
    """Each node's values of the parameters in which the plans differ, and whether it waits for a restart."""
    return {node: (*platform.ask_node(node, "select current_setting(%s), current_setting(%s)", *WATCHED)[0],
                   platform.ask_node(node, WAITING)[0][0])
            for node in platform.nodes_of(instance)}


def wait_has(platform, instance, before):
    """Waits until all nodes have these values; a node that is being restarted has none for a moment."""
    last = []

    def as_before():
        with contextlib.suppress(psycopg2.OperationalError):
            last[:] = [has(platform, instance)]
            return last == [before]
        return False
    wait_until(as_before, lambda: f"{before}, not {last}")


def configured(platform, instance):
    """The values in Patroni's configuration."""
    config = platform.keys(f"/service/{instance}/config")[f"/service/{instance}/config"]
    return [word for word in ("7TB", LIBRARY, "32MB") if word in config]


def fails_and_is_as_before(platform, instance, plan, uri):
    before = has(platform, instance)
    platform.update(instance, plan=plan)
    ended = platform.wait_operation(instance)
    equal(ended.state, "failed", f"the update ({ended.description})")
    print(f"       {ended.description}")
    wait_until(lambda: configured(platform, instance) == [], "nothing of the new settings to be left in Patroni")
    platform.wait_all_running(instance, len(before))
    wait_until(lambda: "taking_up" not in platform.admin(instance), "the settings to be taken back")
    wait_has(platform, instance, before)
    equal(platform.osb("GET", f"/v2/service_instances/{instance}")[2]["plan_id"], PLAN, "the plan that is shown")
    platform.plan_of[instance] = PLAN
    # The router leads to a restarted node a moment after it runs.
    true(connects(uri), "an application is not let in")
    rows_of(uri, "create table if not exists t (n int)")
    rows_of(uri, "insert into t values (1)")
    return ended.description


@scenario("a plan that PostgreSQL cannot start is refused with the reason before any change, and healthz reports it")
def mistaken(platform):
    told = lambda: platform.osb("GET", "/healthz", auth=platform.admin_auth)[2].get("plan_faults", [])
    wait_until(lambda: {fault["cell"] for fault in told()} == set(platform.guids),
               lambda: f"each cell to say what is wrong: {told()}")
    equal({fault["plan_id"] for fault in told()}, {MISTAKEN}, "the plans that have a fault")
    def names_all(description, what):
        for word in (*MISTAKES, MISTAKEN, "work_mem", "pglz", '"kB"', "nosuch"):
            true(word in description, f"{what}: no {word} in {description!r}")
    platform.create("unmistaken", nodes=1)
    body = {"service_id": SERVICE, "plan_id": MISTAKEN}
    with nothing_changes(platform):
        answer = platform.osb("PUT", "/v2/service_instances/mistaken",
                              {**body, "organization_guid": "o", "space_guid": "s"}, {"accepts_incomplete": "true"})
    equal(answer[0], 422, f"the provision ({answer[2]})")
    json_error(answer, "the provision")
    names_all(answer[2]["description"], "the provision")
    print(f"       {answer[2]['description']}")
    before, config = has(platform, "unmistaken"), configured(platform, "unmistaken")
    answer = platform.osb("PATCH", "/v2/service_instances/unmistaken", body, {"accepts_incomplete": "true"})
    equal(answer[0], 202, f"the update ({answer[2]})")
    ended = platform.wait_operation("unmistaken")
    equal(ended.state, "failed", f"the update ({ended.description})")
    names_all(ended.description, "the update")
    equal((has(platform, "unmistaken"), configured(platform, "unmistaken")), (before, config), "its settings")
    equal(platform.osb("GET", "/v2/service_instances/unmistaken")[2]["plan_id"], PLAN, "the plan that is shown")
    exactly_as_asked(platform, "unmistaken", 1)
    platform.remove("unmistaken")


def crash_leader(platform, instance):
    """Kills the leader's PostgreSQL; Patroni goes on."""
    leader = platform.leader(instance)
    pid = platform.ask_node(leader, "select pg_read_file('postmaster.pid')")[0][0].splitlines()[0]
    inside = {int(line.split()[-1]): outside for outside, line in namespaced(platform, leader)}
    os.kill(inside[int(pid)], signal.SIGKILL)


def namespaced(platform, node):
    """Process ids of this machine, each with its NSpid line, of the processes of a node."""
    first = platform.node_pid(node)
    space = os.readlink(f"/proc/{first}/ns/pid")
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink(f"/proc/{name}/ns/pid") == space:
                with open(f"/proc/{name}/status", encoding="ascii") as status:
                    yield int(name), next(line for line in status if line.startswith("NSpid"))
        except OSError:
            pass


@scenario("a plan with which no node starts fails with the reason; all runs as before, also after a leader's crash")
def nowhere(platform):
    platform.create("taken-back", nodes=2)
    uri = platform.bind("taken-back", "app")["uri"]
    leader = platform.leader("taken-back")
    said = fails_and_is_as_before(platform, "taken-back", HUGE, uri)
    true("does not start with the new settings" in said, f"said: {said}")
    equal(platform.leader("taken-back"), leader, "the leader, which was never restarted")
    crash_leader(platform, "taken-back")
    wait_until(lambda: can_write(uri), "an application to write again after the crash")
    platform.wait_all_running("taken-back", 2)
    exactly_as_asked(platform, "taken-back", 2)
    platform.remove("taken-back")


def can_write(uri):
    try:
        rows_of(uri, "insert into t values (2)")
        return True
    except Exception:  # pylint: disable=broad-except
        return False


@scenario("a plan with which a lone node does not start is taken back, and the node runs again")
def alone(platform):
    platform.create("lone", nodes=1)
    uri = platform.bind("lone", "app")["uri"]
    fails_and_is_as_before(platform, "lone", HUGE, uri)
    exactly_as_asked(platform, "lone", 1)
    platform.remove("lone")


@scenario("a plan that starts on the replicas only is taken back")
def replicas_only(platform):
    platform.create("half", nodes=2)
    uri = platform.bind("half", "app")["uri"]
    leader = platform.leader("half")
    for node in platform.nodes_of("half"):
        if node != leader:
            put_library(platform, node)
    fails_and_is_as_before(platform, "half", LIBRARY_NEEDED, uri)
    exactly_as_asked(platform, "half", 2)
    platform.remove("half")


def put_library(platform, node):
    directory = platform.ask_node(node, "show data_directory")[0][0]
    here = pathlib.Path(f"/proc/{platform.node_pid(node)}/root{directory}/{LIBRARY}")
    here.parent.mkdir(mode=0o755)
    shutil.copy("/usr/lib/postgresql/15/lib/pg_stat_statements.so", here)


@scenario("a plan that needs a restart which never happens is taken back when its time is over")
def never(platform):
    platform.create("late", nodes=2)
    uri = platform.bind("late", "app")["uri"]
    leader = platform.leader("late")
    replication = platform.node_configuration(leader)["postgresql"]["authentication"]["replication"]
    user, password = replication["username"], replication["password"]
    platform.ask_node(leader, f"alter role {user} password 'another'")
    platform.ask_node(leader, "select pg_terminate_backend(pid) from pg_stat_replication")
    wait_until(lambda: not platform.ask_node(leader, "select 1 from pg_stat_replication"), "the replica to be cut off")
    before = has(platform, "late")
    platform.update("late", plan=HURRIED)
    ended = platform.wait_operation("late")
    equal(ended.state, "failed", f"the update ({ended.description})")
    print(f"       {ended.description}")
    wait_until(lambda: configured(platform, "late") == [], "nothing of the new settings to be left in Patroni")
    platform.ask_node(leader, f"alter role {user} password '{password}'")
    wait_has(platform, "late", before)
    equal(platform.osb("GET", "/v2/service_instances/late")[2]["plan_id"], PLAN, "the plan that is shown")
    platform.plan_of["late"] = PLAN
    true(connects(uri), "an application is not let in")
    rows_of(uri, "create table t (n int)")
    platform.remove("late")
