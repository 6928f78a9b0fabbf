"""A whole platform on loopback: etcd, cells, the router with HAProxy, and the broker.

    with Platform() as platform:
        platform.provision("db", nodes=2)
        operation = platform.wait_operation("db")

    with Platform(strict=True, etcd_auth=True, secrets=True) as platform:  # and other variants

Everything is real: real etcd, Patroni, PostgreSQL and HAProxy. Several platforms can run on one
machine at a time: each takes a second octet x of its own and lives on 127.x.0.0/16, with all its
files in one directory below /tmp. Leaving the `with` block stops every process, also after Ctrl-C.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading

import yaml

import sanitizers
from asking import certificate_for, password_for
from broker_part import BrokerPart
from cells_part import CellsPart
from etcd_part import EtcdPart
from layout import BUILD, CONFIGURATIONS, MATRIARCH, PASSWORD, USERNAME
from processes import Process, command_of, listening_below, name_of_process, processes_of, tail
from router_part import RouterPart
from waiting import STOP_DEADLINE, Failed, wait_until

# 127.x addresses above this are free for platforms; developers assign lower ones by hand.
FIRST_OCTET, LAST_OCTET = 100, 250


class Platform(EtcdPart, CellsPart, RouterPart, BrokerPart):
    """See the module.

    fixed      the broker and the public ports are on localhost, as `make up` wants them
    simulated  all cells are simulated_cell.py, whose nodes appear at once
    cells      how many cells there are, in two zones, if not those of conf/dev.yml
    failures   the share of orders that simulated cells treat badly
    strict     the broker is strict
    etcds      how many members etcd has
    etcd_quota how many bytes etcd may hold
    etcd_slow  the broker reaches etcd through self.proxy, a SlowProxy
    etcd_auth  etcd asks for users: broker, cells and router have one each
    etcd_tls   etcd speaks TLS
    tls        the router's port to the broker speaks TLS
    secrets    what is secret in etcd is sealed; there is a file of the audit trail, the passwords
               come from files, and operators have credentials of their own
    brokers    how many brokers there are; with more than one, requests go through the router's HAProxy
    held       how many cells there are besides that do what a test tells them (held_cell.py)
    edit       called as edit(kind, configuration) with kind broker, cell and router, before the
               start: changes what else is to be different
    """

    def __init__(self, fixed=False, simulated=False, strict=False, etcd_auth=False,
                 etcd_tls=False, tls=False, secrets=False, held=0, edit=None, say=None, brokers=1,
                 etcds=1, etcd_quota=None, etcd_slow=False, cells=None, failures=0):
        self.etcd_count, self.etcd_quota, self.etcd_slow, self.proxy = etcds, etcd_quota, etcd_slow, None
        self.fixed, self.simulated, self.strict = fixed, simulated, strict
        self.etcd_auth, self.etcd_tls, self.tls, self.secrets = etcd_auth, etcd_tls, tls, secrets
        self.edit, self.broker_count = edit, brokers
        self.cell_count, self.failures = cells, failures
        self.held_count = held
        self.held = []  # the cells that do what a test says
        self.plan_of = {}  # instance -> plan, for those with another plan than PLAN
        # If secrets are looked for, each password is a word that occurs nowhere else.
        own = lambda name: password_for(name) if secrets else PASSWORD
        self.auth = (USERNAME, own("platform"))
        self.admin_auth = ("operator", own("operator")) if secrets else self.auth
        self.token = own("token")
        self.cell_credentials = ("containers", own("cells") if secrets else "containers")
        self.first_key = hashlib.sha256(password_for("key").encode()).hexdigest()
        self.etcd_token = None
        self.tls_context = None
        # This context only asks; which certificates the broker accepts of a cell is tested by
        # scenarios about that.
        self.any_cell = ssl.create_default_context()
        self.any_cell.check_hostname, self.any_cell.verify_mode = False, ssl.CERT_NONE
        # Functions whose results must stay the same when a request must change nothing.
        self.witnesses = []
        self.say = say or (lambda text: None)
        self.processes = []
        self.reports = sanitizers.Reports()
        self.failed = False
        self.directory = None
        self.octet_lock = self.etcd = None
        self.etcds, self.brokers = [], []
        self.stopped = threading.Lock()

    # --- start and stop ------------------------------------------------------------------------

    def __enter__(self):
        # SIGTERM ends the program as Ctrl-C does: through the end of the `with` block.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            self.start()
        except BaseException:
            self.failed = True
            self.stop()
            raise
        return self

    def __exit__(self, kind, *_):
        self.failed = self.failed or kind is not None
        badly_ended = self.stop()
        if badly_ended and kind is None:
            raise Failed("\n".join(badly_ended))

    def start(self):
        if not MATRIARCH.exists():
            raise Failed(f"there is no {MATRIARCH}: run `make build` first")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="matriarch-", dir="/tmp"))
        # The user postgres has to reach its nodes' directories.
        self.directory.chmod(0o755)
        self._choose_addresses()
        if self.tls or self.etcd_tls:
            self.certificate, self.certificate_key = certificate_for(self.directory, self.public_host)
            self.tls_context = ssl.create_default_context(cafile=str(self.certificate))
        self._start_held_cells()
        self._write_configurations()
        for member in self.etcds:
            member.start()
        wait_until(self._etcd_healthy, "etcd")
        if self.etcd_auth:
            self._turn_on_etcd_users()
        for process in [*self.cells, self.router, *self.brokers]:
            if process is not None:
                process.start()
        for guid in self.cell_addresses:
            self.wait_cell(guid)
        self.wait_broker()
        self.wait_broker_acts()
        self.wait_cells_seen()
        wait_until(self._router_ready, "the router's HAProxy to front the broker")
        self.listening_at_start = listening_below(self.octet)

    def stop(self):
        """Stops everything, within a bounded time, and removes the directory. Safe to call twice.

        Returns what was wrong with how this project's programs ended, in words: sanitizers' reports and exit
        codes.
        """
        if self.directory is None or not self.stopped.acquire(blocking=False):
            return []
        # Nothing may interrupt from here on: every wait below ends by itself.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for cell in self.held:
            cell.close()
        others = [process for process in self.processes if process not in self.etcds]
        own = [process for process in others if process.alive() and process.command[0].startswith(str(BUILD))]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda process: process.stop(deadline=STOP_DEADLINE), others))
        # Cells leave their nodes running when they stop. Each node's pid 1, when asked to end,
        # stops PostgreSQL cleanly, for which Patroni needs etcd. Then the processes that are left
        # are killed.
        etcd_pids = [member.pid for member in self.etcds if member.running]
        left = lambda: [pid for pid in processes_of(self.directory) if pid not in etcd_pids]
        for pid in left():
            # Patroni makes PostgreSQL stop fast; on its own PostgreSQL would wait for its clients.
            if name_of_process(pid) != "postgres":
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(Failed):
            wait_until(lambda: not left(), "", STOP_DEADLINE)
        for pid in left():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(Failed):
            wait_until(lambda: not left(), "", STOP_DEADLINE)
        for member in self.etcds:
            member.stop(deadline=STOP_DEADLINE)
        if self.proxy:
            self.proxy.cut()
        # SIGKILL is how stop() ends a program that is too slow.
        badly_ended = [f"{process.name} ended with status {process.running.returncode} when it was asked to stop"
                       for process in own if process.running.returncode not in (0, -signal.SIGKILL)]
        badly_ended += self.sanitizer_reports()
        self.failed = self.failed or bool(badly_ended)
        if self.failed:
            kept = BUILD / "logs"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for log in [*self.directory.glob("*.log"), *self.directory.glob("*.yml")]:
                shutil.copy(log, kept)
            for log in self.directory.glob("*/nodes/*/log"):
                kept.joinpath(f"node-{log.parent.name}.log").write_text(tail(log, 500) or "")
            self.say(f"The logs are in {kept}.")
        shutil.rmtree(self.directory, ignore_errors=True)
        if self.octet_lock:
            self.octet_lock.close()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return badly_ended

    def sanitizer_reports(self):
        """The sanitizers' reports since the last call, in any log of the platform's programs."""
        return self.reports.new_in(self.directory.glob("*.log"))

    def _choose_addresses(self):
        # An abstract socket's name belongs to the machine's network, like the addresses it stands
        # for, and ends with this process (a lock file would not work across a chroot).
        for octet in range(FIRST_OCTET, LAST_OCTET):
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0matriarch-platform-127.{octet}")
                for port in (2379, 2380, 3000):
                    with socket.socket() as probe:
                        probe.bind((f"127.{octet}.0.1", port))
                if listening_below(octet):
                    raise OSError("in use by something else")
            except OSError:
                lock.close()
                continue
            self.octet, self.octet_lock = octet, lock
            break
        else:
            raise Failed("no free 127.x.0.0/16 left: are platforms still running?")
        self.address = f"127.{self.octet}.0.1"
        self.public_host = "127.0.0.1" if self.fixed else self.address
        self.broker_host = "localhost" if self.fixed else self.address
        # As many as the largest scenario uses: HAProxy opens all of them at its start.
        self.public_ports = {"first": 30000, "last": 32767 if self.fixed or self.simulated else 30499}
        # The addresses of the brokers, and of HAProxy in front of them. People use port 3000.
        if self.broker_count == 1:
            self.broker_addresses, self.fronted_port = [(self.public_host, 3000)], 8888
        elif self.fixed:
            self.broker_addresses = [(self.public_host, 3001 + n) for n in range(self.broker_count)]
            self.fronted_port = 3000
        else:
            self.broker_addresses = [(f"127.{octet}.0.{1 + n}", 3000) for n in range(self.broker_count)]
            self.fronted_port = 8888
        self.broker_port = 3000 if self.broker_count == 1 else self.fronted_port
        scheme = "https" if self.etcd_tls else "http"
        # This program asks the first member.
        self.etcd_uris = [f"{scheme}://{host}:2379" for host in
                          [self.address, *(f"127.{octet}.0.{10 + n}" for n in range(2, self.etcd_count + 1))]]
        self.etcd_uri = self.etcd_uris[0]
        self.broker_uri = f"http://{self.broker_host}:{self.broker_port}"
        # For the operator's commands.
        self.broker_uri_with_credentials = (
            f"http://{self.admin_auth[0]}:{self.admin_auth[1]}@{self.broker_host}:{self.broker_port}")
        self.choose_cells()

    def _write_configurations(self):
        self._add_etcds()
        self._add_cells()
        self._add_router()
        self._add_brokers()

    def _write(self, path, kind, config):
        """The configuration may contain passwords: nobody else may read it."""
        if self.etcd_auth:
            user = config["cell"]["guid"] if kind == "cell" else kind
            config["etcd"].update(username=user, password=self.etcd_password(user))
        if self.etcd_tls:
            config["etcd"]["tls"] = {"authority": str(self.certificate)}
        if self.edit:
            self.edit(kind, config)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))

    def _add_process(self, name, command):
        process = Process(name, command, self.directory)
        self.processes.append(process)
        return process

    @staticmethod
    def _example(name):
        return yaml.safe_load(CONFIGURATIONS.joinpath(f"{name}.yml").read_text())

    # --- faults --------------------------------------------------------------------------------

    @staticmethod
    def freeze_process(process, go_on=False):
        """Freezes one of the platform's programs, or resumes it."""
        process.kill(signal.SIGCONT if go_on else signal.SIGSTOP)

    @contextlib.contextmanager
    def frozen_processes(self, processes):
        """These programs of the platform are frozen inside, and resume afterwards."""
        for process in processes:
            self.freeze_process(process)
        try:
            yield
        finally:
            for process in processes:
                self.freeze_process(process, go_on=True)

    # --- leftovers -----------------------------------------------------------------------------

    def leftovers(self):
        """Everything that should not be there while no instance exists, in words."""
        left = []
        own = {process.pid for process in self.processes if process.running}
        for pid in processes_of(self.directory):
            command = command_of(pid)
            if pid in own or self._is_routers_haproxy(command):
                continue
            if command:
                left.append(f"process {pid}: {' '.join(command).strip()[:120]}")
        left += [f"held address {address}" for address in self._new_addresses()]
        for key, value in self.keys().items():
            if (key.startswith(("/matriarch/", "/cells/", "/routers/"))
                    or key in ("/routing/nextport", "/routing/authority", "/routing/fleet")):
                continue
            if key.startswith("/routing/port/") and self.rests(value):
                continue
            left.append(f"key {key}")
        for guid in self.guids:
            left += [f"file {path}" for path in self._node_files(guid)]
        left += [f"node {node} on {cell.guid}" for cell in self.held for node in dict(cell.nodes)]
        if self.etcd_auth:
            left += [f"etcd's user {user}" for user in self.etcd_users() if user not in self.etcd_users_at_start]
        return left

    def wait_nothing_left(self):
        """Waits until leftovers() is empty: HAProxy may need a moment to let a port go."""
        wait_until(lambda: not self.leftovers(), lambda: f"nothing left of {self.leftovers()}")

    def _new_addresses(self):
        return sorted(listening_below(self.octet) - self.listening_at_start)
