"""The resources that a tenant's session can use up: only its own node is affected."""

import contextlib
import pathlib
import re
import threading
import time

import psycopg2

from checks import equal, rows_of, scenario, true
from databases import Writer
from layout import PLAN
from offers import WALLED, offer, plan
from waiting import wait_until

# For which no machine is large enough.
GIANT = "51a0f1e0-0016-4000-8000-000000000016"
VAST = "51a0f1e0-0017-4000-8000-000000000017"
# The plan WALLED with more of everything.
ROOMIER = "51a0f1e0-0018-4000-8000-000000000018"


def offer_more(kind, config):
    offer(kind, config)
    if kind == "broker":
        plans = config["catalog"]["services"][0]["plans"]
        walled = next(one["provision"] for one in plans if one["id"] == WALLED)
        plans += [plan(GIANT, "giant", memory="900TB"), plan(VAST, "vast", disk="900TB"),
                  plan(ROOMIER, "roomier", memory="512MB", processes=400, cpu=2, disk="2GB",
                       parameters=walled["parameters"])]


PLATFORM = {"strict": True, "tls": True, "edit": offer_more}

MEMORY = 256 * 1024 * 1024  # of the plan WALLED
# What a process has of its own that is not counted: its stack, and what it changes of its program and libraries.
UNCOUNTED = 16 * 1024 * 1024

# The neighbour's writer gives up a statement after half a second, and connects again: on a machine
# that is busy with sorting it may need one more attempt.
LONGEST_GAP = 2.0


def shared(platform):
    if not platform.keys("/service/walled/state"):
        platform.provision("walled", 2, plan=WALLED)  # the other could take over
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
    """Values that change if a node's Patroni ends, its PostgreSQL ends, or another node becomes leader."""
    leader = platform.leader(instance)
    return (leader, platform.ask_node(leader, "select pg_postmaster_start_time()"),
            platform.ask_node(leader, "select timeline_id from pg_control_checkpoint()"))


class Watch:
    """The most memory of its own that one of a cluster's processes has while this lasts, in bytes."""

    def __init__(self, scope):
        self.title, self.most = f"postgres: {scope}: ".encode(), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _look(self):
        while not self.over.wait(0.02):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, IndexError):
                    if process.joinpath("cmdline").read_bytes().startswith(self.title):
                        own = process.joinpath("status").read_text().split("RssAnon:")[1].split()[0]
                        self.most = max(self.most, int(own) * 1024)


def fails(uri, *statements):
    """The error of the last of a session's statements, which must fail."""
    try:
        with contextlib.closing(psycopg2.connect(uri, connect_timeout=60)) as tenant:
            tenant.autocommit = True
            for statement in statements:
                tenant.cursor().execute(statement)
    except psycopg2.Error as error:
        return str(error)
    return ""


@scenario("a session that takes all memory fails in its own node, and its neighbours do not notice")
def memory(platform):
    walled, neighbour = shared(platform)
    cells = {cell["guid"]: cell for cell in platform.osb("GET", "/admin/cells")[2]}
    limits = cells[next(iter(platform.nodes_of("walled").values()))]["limits"]
    print(f"       its cell has {limits}")
    true("memory" in limits, "the cell does not say how it keeps limits")
    before = life_of(platform, "neighbour")
    leader = platform.leader("walled")
    with Writer(neighbour, "beside") as writer, Watch(platform.scope_of("walled")) as watch:
        writer.wait_for_writes(50)
        # A gigabyte or more, if nothing stopped it.
        said = fails(walled, "set work_mem = '8GB'",
                     "select count(*) from (select md5(i::text) || md5((-i)::text) as m "
                     "from generate_series(1, 10000000) i order by m) s")
        writer.wait_for_writes(50)
    print(f"       it was told: {said.strip().splitlines()[:1]}")
    true("out of memory" in said or "terminat" in said or "closed the connection" in said,
         f"the session was not stopped for want of memory: {said!r}")
    print(f"       it had {watch.most // 1024 // 1024} MB at most")
    true(16 * 1024 * 1024 < watch.most <= MEMORY // 2 + UNCOUNTED, f"a session had {watch.most} bytes of memory")
    wait_until(lambda: rows_of(walled, "select 1") == [(1,)], "the tenant's next session")
    equal(platform.leader("walled"), leader, "who leads the tenant's cluster")
    equal(life_of(platform, "neighbour"), before, "the neighbour's leader, its start and its timeline")
    equal(writer.missing(), [], "acknowledged rows of the neighbour that are lost")
    print(f"       the neighbour's longest gap: {writer.longest_gap():.2f} s")
    true(writer.longest_gap() < LONGEST_GAP, "the neighbour could not write")


@scenario("a tenant with a full disk can read, keeps its leader, and writes again within ten seconds of space")
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
    said = fails(walled, "begin read write", "insert into filled select md5(i::text) || md5((-i)::text) "
                                             "from generate_series(1, 20000000) i")
    true("canceling statement" in said, f"who insists on writing was not stopped but {said!r}")
    rows_of(neighbour, "create table if not exists beside_a_full_one (n int)")
    equal(rows_of(platform.bind("walled", "meanwhile")["uri"], "select 1"), [(1,)], "what a new binding reads")
    platform.unbind("walled", "meanwhile")
    guid = next(iter(platform.nodes_of("walled").values()))
    wait_until(lambda: any(cell["guid"] == guid and cell["full_nodes"] == 1
                           for cell in platform.osb("GET", "/admin/cells")[2]), "the operators to be told")
    # While what was ended last is still written out, the node grows, and each statement is cancelled.
    wait_until(lambda: fails(walled, "begin read write", "truncate filled", "commit") == "", "room to be made")
    since = time.monotonic()
    wait_until(lambda: fails(walled, "insert into filled values ('again')") == "", "it to write again")
    took = time.monotonic() - since
    print(f"       it wrote again {took:.1f} s after there was room")
    true(took < 10, "it takes too long to write again")
    equal(life_of(platform, "walled"), before, "its leader, its start and its timeline")


@scenario("a plan that no cell is large enough for is refused in words, and nothing is made or changed for it")
def too_large(platform):
    walled, _ = shared(platform)
    for name, identity, what in (("giant", GIANT, "memory"), ("vast", VAST, "disk")):
        words = rf"asks for more than there is: .* of {what}, less than the plan's 900 TB"
        for cells in (None, platform.guids):
            answer = platform.provision(name, 1, cells=cells, plan=identity, expect=422)
            true(re.search(words, answer["description"]), f"it was refused by {answer!r}")
        platform.plan_of.pop(name)
        equal([entry["instance_id"] for entry in platform.osb("GET", "/admin/service_instances")[2]
               if entry["instance_id"] == name], [], "instances of that name")
        before = (platform.nodes_of("walled"), life_of(platform, "walled"))
        platform.update("walled", plan=identity)
        ended = platform.wait_operation("walled")
        true(ended.state == "failed" and re.search(words, ended.description),
             f"the update ended {ended.state}: {ended.description}")
        platform.plan_of["walled"] = WALLED
        equal((platform.nodes_of("walled"), life_of(platform, "walled")), before, "its nodes and their leader's life")
    equal(rows_of(walled, "select 1"), [(1,)], "what it serves")


@scenario("a tenant that gets a plan with more room keeps its rows, on a node with that plan's limits")
def more_room(platform):
    walled, _ = shared(platform)
    rows_of(walled, "create table kept (n int)")
    rows_of(walled, "insert into kept values (1)")
    before = platform.nodes_of("walled")
    platform.update("walled", plan=ROOMIER)
    platform.wait_operation("walled").must_succeed()
    true(not before.keys() & platform.nodes_of("walled").keys(), "its node has not been replaced")
    wait_until(lambda: rows_of(walled, "select n from kept") == [(1,)], "its rows to be there")
    equal(rows_of(walled, "show temp_file_limit"), [("512MB",)], "what its temporary files may take")
    with Watch(platform.scope_of("walled")) as watch:
        said = fails(walled, "set work_mem = '8GB'",
                     "select count(*) from (select md5(i::text) || md5((-i)::text) as m "
                     "from generate_series(1, 10000000) i order by m) s")
    true("out of memory" in said, f"the session was not stopped for want of memory: {said!r}")
    print(f"       a session had {watch.most // 1024 // 1024} MB at most")
    true(MEMORY // 2 + UNCOUNTED < watch.most <= MEMORY + UNCOUNTED, f"a session had {watch.most} bytes of memory")
