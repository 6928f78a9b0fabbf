"""The floors: what a provision, a bind and an unbind would take if there were nothing but PostgreSQL.

Of a cold provision: the same two Patroni nodes, started directly.
Their configuration is what the cells wrote for two nodes of a real cluster, with other names and
directories; so both sides do the same work, and what differs is the orchestration.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import time

import psycopg2
import yaml

from local_platform import Failed, processes_of, wait_until


class Roles:
    """The statements of a bind and of an unbind, each with a connection of its own and the wait until
    every replica has replayed them."""

    # What it verifies does not matter here.
    VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" + "A" * 43 + "=:" + "A" * 43 + "="

    def __init__(self, connect, owner):
        self.connect, self.owner = connect, owner

    def create(self, name):
        self._run(f"create role {name} login password '{self.VERIFIER}' connection limit 50; "
                  f"grant {self.owner} to {name}; alter role {name} set role = '{self.owner}'")

    def drop(self, name):
        self._run(f"alter role {name} nologin",
                  f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{name}'",
                  f"reassign owned by {name} to {self.owner}; drop owned by {name}; drop role {name}")

    def _run(self, *transactions):
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            for transaction in transactions:
                cursor.execute(transaction)
            cursor.execute("select pg_current_wal_lsn()")
            position = cursor.fetchone()[0]
            def replayed():
                cursor.execute("select coalesce(bool_and(replay_lsn >= %s::pg_lsn), true) from pg_stat_replication",
                               (position,))
                return cursor.fetchone()[0]
            end = time.monotonic() + 10
            while not replayed():  # without a pause: it is a floor
                if time.monotonic() > end:
                    raise Failed("a replica did not replay in 10 s")


def templates_of(platform, instance):
    """What the cells wrote for an instance's nodes: (node id, its directory, its files by name)."""
    found = []
    for node in platform.nodes_of(instance):
        for path in platform.directory.rglob("patroni.yml"):
            if node in str(path):
                files = {file.name: file.read_text() for file in path.parent.iterdir()
                         if file.suffix in (".yml", ".sh", ".sql")}
                found.append((node, str(path.parent), files))
    if len(found) != 2:
        raise Failed(f"found {len(found)} patroni.yml of {instance} instead of 2")
    return found


def seconds_of_one_start(platform, templates, number):
    """Starts both nodes at once and waits until the replica streams. Stops and removes them."""
    base = platform.directory / f"floor{number}"
    base.mkdir(mode=0o755)
    scope = f"floor{number}"
    started, leaders = [], []
    try:
        commands = []
        for position, (node, directory, files) in enumerate(templates):
            own = base / f"n{position}"
            files = {name: text.replace(directory, str(own)).replace(node, f"{scope}-{position}")
                     for name, text in files.items()}
            config = yaml.safe_load(files["patroni.yml"])
            config["scope"] = scope
            _make_node_directory(own, config, files)
            superuser = config["postgresql"]["authentication"]["superuser"]
            leaders.append((config["postgresql"]["connect_address"], superuser))
            commands.append((own, _start_command(own)))
        start = time.monotonic()
        for own, command in commands:
            with (own / "log").open("ab") as log:
                started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True))
        wait_until(lambda: any(_streams(*leader) for leader in leaders), "a streaming replica")
        return time.monotonic() - start
    finally:
        for process in started:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for pid in processes_of(base):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not processes_of(base), "the floor's processes to end")
        subprocess.run(["etcdctl", "--endpoints", platform.etcd_uri, "del", "--prefix", f"/service/{scope}/"],
                       stdout=subprocess.DEVNULL, check=True)
        shutil.rmtree(base)


def _make_node_directory(own, config, files):
    own.mkdir(mode=0o700)
    for path in (config["postgresql"].get("parameters", {}).get("unix_socket_directories"),
                 pathlib.Path(config["postgresql"]["data_dir"]).parent):
        if path:
            pathlib.Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        (own / name).write_text(text)
    (own / "patroni.yml").write_text(yaml.safe_dump(config))
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        for path in [own, *own.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid)


def _start_command(own):
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    return [*drop, "env", "-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", f"HOME={own}",
            "/usr/bin/patroni", str(own / "patroni.yml")]


def _streams(address, superuser):
    host, port = address.split(":")
    with contextlib.suppress(psycopg2.Error):
        with contextlib.closing(psycopg2.connect(
                host=host, port=port, user=superuser["username"], password=superuser["password"],
                dbname="postgres", connect_timeout=2)) as connection:
            cursor = connection.cursor()
            # pg_basebackup streams too while it copies.
            cursor.execute("select count(*) from pg_stat_replication"
                           " where state = 'streaming' and application_name <> 'pg_basebackup'")
            return cursor.fetchone()[0] > 0
    return False
