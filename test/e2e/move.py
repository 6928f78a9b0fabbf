"""A cluster moves to other machines while an application writes."""

import contextlib
import os
import shutil
import subprocess

import psycopg2

from checks import equal, exactly_as_asked, rows_of, scenario, true
from databases import Writer
from processes import processes_of
from waiting import PATIENCE, wait_until


@scenario("a move leaves the old cells, lands on the named ones and loses no acknowledged write")
def move(platform):
    platform.create("mover", nodes=2)
    before = platform.nodes_of("mover")
    cells = [guid for guid in platform.guids if guid not in before.values()]
    uri = platform.bind("mover", "app")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.update("mover", cells=cells)
        platform.wait_operation("mover").must_succeed()
        writer.wait_for_writes(50)
    exactly_as_asked(platform, "mover", 2, cells)
    left = before.keys() & platform.running_nodes().keys()
    true(not left, f"old nodes still run: {left}")
    missing = writer.missing()
    true(not missing, f"{len(missing)} acknowledged rows are missing: {missing[:5]}")
    print(f"       {len(writer.acknowledged)} rows, longest gap {writer.longest_gap():.2f} s")
    platform.unbind("mover", "app")
    platform.remove("mover")


@scenario("the leader's machine dies: a replica takes over, and the node comes back as a replica")
def machine_dies(platform):
    platform.create("survivor", nodes=2)
    uri = platform.bind("survivor", "app")["uri"]
    killed = platform.leader("survivor")
    cell = platform.nodes_of("survivor")[killed]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.kill_machine(cell)
        wait_until(lambda: platform.leader("survivor") not in (None, killed), "another leader")
        writer.wait_for_writes(50)  # the public port now leads to the new leader
    print(f"       longest gap {writer.longest_gap():.2f} s")
    platform.start_machine(cell)
    exactly_as_asked(platform, "survivor", 2)
    true(platform.leader("survivor") != killed, "the node came back as the leader")
    equal(platform.last_operation("survivor")[1]["state"], "succeeded", "a failover is no operation")
    platform.wait_cells_seen()
    platform.unbind("survivor", "app")
    platform.remove("survivor")


@scenario("only the leader's node is killed: its cell restarts it")
def node_dies(platform):
    platform.create("survivor", nodes=2)
    uri = platform.bind("survivor", "app")["uri"]
    with Writer(uri) as writer:
        writer.wait_for_writes(20)
        platform.kill_node(platform.leader("survivor"))
        writer.wait_for_writes(50)
        platform.wait_all_running("survivor", 2)
        writer.wait_for_writes(50)
    print(f"       longest gap {writer.longest_gap():.2f} s")
    exactly_as_asked(platform, "survivor", 2)
    platform.unbind("survivor", "app")
    platform.remove("survivor")


def copy_leader(platform, leader, replica):
    """Gives a stopped node the data directory that it has right after pg_basebackup, and returns the
    node."""
    home = platform.node_files(replica) / "home"
    postgresql = platform.node_configuration(leader)["postgresql"]
    host, port = postgresql["connect_address"].rsplit(":", 1)
    replication = postgresql["authentication"]["replication"]
    shutil.rmtree(home / "data")
    subprocess.run(["pg_basebackup", "-D", home / "data", "-X", "stream", "--checkpoint=fast", "-h", host,
                    "-p", port, "-U", replication["username"]],
                   env={**os.environ, "PGPASSWORD": replication["password"]}, check=True, timeout=PATIENCE)
    whose = home.stat()
    for directory, _, files in os.walk(home / "data"):
        for path in [directory, *(os.path.join(directory, name) for name in files)]:
            os.chown(path, whose.st_uid, whose.st_gid)
    return home / "data"


@scenario("a node that dies between its copy and its first start follows its leader from where the copy ends")
def copy_dies(platform):
    # Patroni takes such a copy for a crashed leader's data, and would let it write WAL of its own.
    die_with_a_copy(platform)


@scenario("a node that dies in the middle of its copy starts again")
def half_a_copy(platform):
    # Patroni leaves data alone that cannot be started. The last file of the copy is missing.
    die_with_a_copy(platform, lambda data: (data / "global/pg_control").unlink())


def die_with_a_copy(platform, spoil=lambda data: None):
    platform.create("copied", nodes=2)
    uri = platform.bind("copied", "app")["uri"]
    rows_of(uri, "create table before_the_copy (n int)")
    leader = platform.leader("copied")
    replica = next(node for node in platform.nodes_of("copied") if node != leader)
    cell = platform.nodes_of("copied")[replica]
    platform.kill_machine(cell)
    # A killed process may still be writing a file.
    wait_until(lambda: not processes_of(platform.node_files(replica)), "the node's processes to end")
    spoil(copy_leader(platform, leader, replica))
    rows_of(uri, "create table after_the_copy (n int)")
    platform.start_machine(cell)
    platform.wait_all_running("copied", 2)

    def caught_up():
        with contextlib.suppress(psycopg2.OperationalError):  # the node has not started yet
            return platform.ask_node(replica, "select 1 from pg_tables where tablename = 'after_the_copy'",
                                     dbname="db")
    wait_until(caught_up, "the replica to have what came after its copy")
    platform.wait_cells_seen()
    platform.unbind("copied", "app")
    platform.remove("copied")
