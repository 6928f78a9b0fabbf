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

from processes import processes_of
from waiting import Failed, wait_until


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
    """What the cells wrote for an instance's nodes: (node id, its directory, its files by name). All of
    it but what the node itself has made, so that a file that cells add one day is not missed here."""
    found = []
    for node in platform.nodes_of(instance):
        directory = platform.node_files(node)
        files = {str(path.relative_to(directory)): path.readlink() if path.is_symlink() else path.read_text()
                 for part in ("*", "bin/*") for path in directory.glob(part)
                 if path.name not in ("node.json", "log") and (path.is_symlink() or path.is_file())}
        found.append((node, str(directory), files))
    if len(found) != 2:
        raise Failed(f"found {len(found)} nodes of {instance} instead of 2")
    return found


@contextlib.contextmanager
def pair(platform, templates, number):
    """Both nodes, started at once: given when the replica streams, stopped and removed at the end."""
    base = platform.directory / f"floor{number}"
    base.mkdir(mode=0o755)
    made = Pair(base, f"floor{number}")
    try:
        made.start(templates)
        yield made
    finally:
        made.stop()
        wait_until(lambda: not processes_of(base), "the floor's processes to end")
        subprocess.run(["etcdctl", "--endpoints", platform.etcd_uri, "del", "--prefix", f"/service/{made.scope}/"],
                       stdout=subprocess.DEVNULL, check=True)
        shutil.rmtree(base)


class Pair:
    def __init__(self, base, scope):
        self.base, self.scope = base, scope
        self.nodes = []  # (directory, "host:port", the superuser)
        self.processes = []
        self.seconds = None  # from the start until the replica streamed

    def start(self, templates):
        commands = []
        for position, (node, directory, files) in enumerate(templates):
            own = self.base / f"n{position}"
            files = {name: text.replace(directory, str(own)).replace(node, f"{self.scope}-{position}")
                     if isinstance(text, str) else text for name, text in files.items()}
            config = yaml.safe_load(files["patroni.yml"])
            config["scope"] = self.scope
            _make_node_directory(own, config, files)
            self.nodes.append((own, config["postgresql"]["connect_address"],
                               config["postgresql"]["authentication"]["superuser"]))
            commands.append((own, _start_command(own)))
        start = time.monotonic()
        for own, command in commands:
            with (own / "log").open("ab") as log:
                self.processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                       start_new_session=True))
        ended = lambda: any(process.poll() is not None for process in self.processes)
        said = lambda: " … ".join(_end_of(own) for own, _, _ in self.nodes)
        wait_until(lambda: ended() or any(_streams(where, who) for _, where, who in self.nodes),
                   lambda: "a streaming replica; the nodes say: " + said())
        if ended():
            raise Failed("a node of the floor ended: " + said())
        self.seconds = time.monotonic() - start

    def uri(self):
        """For a client that finds the leader by itself, as libpq can."""
        who = self.nodes[0][2]
        hosts, ports = zip(*(where.split(":") for _, where, _ in self.nodes))
        return (f"host={','.join(hosts)} port={','.join(ports)} user={who['username']} password={who['password']} "
                "dbname=postgres target_session_attrs=read-write")

    def kill_leader(self):
        """As if its machine were dead."""
        for own, where, who in self.nodes:
            if _streams(where, who):
                for pid in processes_of(own):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                return
        raise Failed("no node of the floor leads")

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for pid in processes_of(self.base):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def seconds_of_one_start(platform, templates, number):
    with pair(platform, templates, number) as both:
        return both.seconds


def _end_of(own):
    """The last words of a node: why it came to nothing is to be seen at once."""
    return (own / "log").read_text(errors="replace")[-600:]


def _make_node_directory(own, config, files):
    own.mkdir(mode=0o700)
    for path in (config["postgresql"].get("parameters", {}).get("unix_socket_directories"),
                 pathlib.Path(config["postgresql"]["data_dir"]).parent):
        if path:
            pathlib.Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        path = own / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(text, str):
            path.write_text(text)
            path.chmod(0o700 if text.startswith("#!") else 0o600)
        else:
            path.symlink_to(text)
    (own / "patroni.yml").write_text(yaml.safe_dump(config))
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        for path in [own, *own.rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


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
