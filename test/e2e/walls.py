"""What one tenant's session takes of its machine: its own node has to do with it, and nobody else."""

import contextlib
import time

import psycopg2

from checks import equal, rows_of, scenario, true
from local_platform import PLAN, Writer, wait_until
from offers import STRICT, WALLED

PLATFORM = STRICT

# The neighbour's writer gives up on a statement after half a second, and connects again: a machine that is busy
# with sorting costs it one of them.
LONGEST_GAP = 2.0


def shared(platform):
    if not platform.keys("/service/walled/state"):
        platform.provision("walled", 1, plan=WALLED)
        platform.provision("neighbour", 1, plan=PLAN)
        for name in ("walled", "neighbour"):
            platform.wait_operation(name).must_succeed()
        platform.walled, platform.neighbour = (platform.bind(name, "app")["uri"] for name in ("walled", "neighbour"))
    return platform.walled, platform.neighbour


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()
    platform.plan_of.clear()


def life_of(platform, instance):
    """What changes if a node's Patroni ends, its PostgreSQL does, or another one takes over."""
    leader = platform.leader(instance)
    return (leader, platform.ask_node(leader, "select pg_postmaster_start_time()"),
            platform.ask_node(leader, "select timeline_id from pg_control_checkpoint()"))


def fails(uri, *statements):
    """What the last of some statements of a session ends with, which is not to succeed."""
    try:
        with contextlib.closing(psycopg2.connect(uri, connect_timeout=60)) as tenant:
            tenant.autocommit = True
            for statement in statements:
                tenant.cursor().execute(statement)
    except psycopg2.Error as error:
        return str(error)
    return ""


@scenario("a session that takes all memory is stopped in its own node, and its neighbours do not notice")
def memory(platform):
    walled, neighbour = shared(platform)
    cells = {cell["guid"]: cell for cell in platform.osb("GET", "/admin/cells")[2]}
    limits = cells[next(iter(platform.nodes_of("walled").values()))]["limits"]
    print(f"       its cell has {limits}")
    true("memory" in limits, "the cell does not say how it keeps limits")
    before = life_of(platform, "neighbour")
    leader = platform.leader("walled")
    with Writer(neighbour, "beside") as writer:
        writer.wait_for_writes(50)
        # A gigabyte and more if nothing stopped it.
        said = fails(walled, "set work_mem = '8GB'",
                     "select count(*) from (select md5(i::text) || md5((-i)::text) as m "
                     "from generate_series(1, 10000000) i order by m) s")
        writer.wait_for_writes(50)
    print(f"       it was told: {said.strip().splitlines()[:1]}")
    true("out of memory" in said or "terminat" in said or "closed the connection" in said,
         f"the session was not stopped for want of memory: {said!r}")
    wait_until(lambda: rows_of(walled, "select 1") == [(1,)], "the tenant's next session")
    equal(platform.leader("walled"), leader, "who leads the tenant's cluster")
    equal(life_of(platform, "neighbour"), before, "the neighbour's leader, its start and its timeline")
    equal(writer.missing(), [], "acknowledged rows of the neighbour that are lost")
    print(f"       the neighbour's longest gap: {writer.longest_gap():.2f} s")
    true(writer.longest_gap() < LONGEST_GAP, "the neighbour could not write")


@scenario("a tenant that fills its disk reads on, keeps its leader, and writes again within ten seconds of space")
def disk(platform):
    walled, neighbour = shared(platform)
    before = life_of(platform, "walled")
    rows_of(walled, "create table filled (line text)")
    said = ""
    for _ in range(100):
        said = fails(walled, "insert into filled select md5(i::text) || md5((-i)::text) "
                             "from generate_series(1, 200000) i")
        if said:
            break
    true("read-only transaction" in said, f"its writes were not refused but {said!r}")
    equal(rows_of(walled, "select count(*) > 0 from filled"), [(True,)], "what it reads meanwhile")
    rows_of(neighbour, "create table if not exists beside_a_full_one (n int)")
    guid = next(iter(platform.nodes_of("walled").values()))
    wait_until(lambda: any(cell["guid"] == guid and cell["full_nodes"] == 1
                           for cell in platform.osb("GET", "/admin/cells")[2]), "the operators to be told")
    with contextlib.closing(psycopg2.connect(walled, connect_timeout=60)) as tenant:
        tenant.autocommit = True
        tenant.cursor().execute("begin read write; truncate filled; commit")
    since = time.monotonic()
    wait_until(lambda: fails(walled, "insert into filled values ('again')") == "", "it to write again")
    took = time.monotonic() - since
    print(f"       it wrote again {took:.1f} s after there was room")
    true(took < 10, "it takes too long to write again")
    equal(life_of(platform, "walled"), before, "its leader, its start and its timeline")
