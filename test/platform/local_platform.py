"""A whole platform on loopback: etcd, cells, the router with HAProxy, and the broker.

    with Platform() as platform:
        platform.provision("db", nodes=2)
        operation = platform.wait_operation("db")

    with Platform(strict=True, etcd_auth=True, secrets=True) as platform:  # and other variants

Everything is real: real etcd, Patroni, PostgreSQL and HAProxy. Several platforms can run on one
machine at a time: each takes a second octet x of its own and lives on 127.x.0.0/16, with all its
files in one directory below /tmp. Leaving the `with` block stops every process, also after Ctrl-C.
"""

import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import psycopg2
import psycopg2.extensions
import yaml

import sanitizers
from slow_proxy import SlowProxy

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MATRIARCH_BUILD", ROOT / "build"))
MATRIARCH = BUILD / "matriarch"
CONFIGURATIONS = pathlib.Path(os.environ.get("MATRIARCH_CONFIGURATIONS", ROOT / "conf"))

# The seeds' examples use these, and so does conf/dev.yml.
SERVICE = "beb5973c-e1b2-11e5-a736-c7c0b526363d"
PLAN = "b96d0936-e423-11e5-accb-93d374e93368"
USERNAME = PASSWORD = "starkandwayne"
API_VERSION = "2.17"
# Stands for the credentials that belong to a path: the operators' below /admin, else the platform's.
ITS_OWN = object()

# In seconds. What takes longer has failed: nothing waits for this to pass, and a machine that does
# much else is slow.
PATIENCE = 400
# Then what was asked to end is killed: when a platform is put away, and when the end itself is judged.
STOP_DEADLINE = 15
END_DEADLINE = 60
# How long a condition rests between two looks: the longer it was waited for, the longer, or looking
# would take the time that what is waited for needs.
SHORTEST_REST, LONGEST_REST = 0.05, 0.5

# Above this 127.x addresses are free for platforms; below it developers put things by hand.
FIRST_OCTET, LAST_OCTET = 100, 250


class Failed(AssertionError):
    """Something did not happen that should have, in words."""


def rest(begun):
    """Between two looks at what has been waited for since then."""
    time.sleep(min(max((time.monotonic() - begun) / 20, SHORTEST_REST), LONGEST_REST))


def wait_until(condition, what, deadline=PATIENCE):
    """Calls condition() until it gives something true, and returns that. `what` is waited for."""
    begun = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() - begun > deadline:
            raise Failed(f"waited {deadline} s in vain for {what() if callable(what) else what}")
        rest(begun)


def http_json(method, url, body=None, headers=None, auth=None, timeout=70, context=None):
    """One request on a connection of its own: (status, headers, JSON value or text). `auth` is a
    pair of user and password, or a bearer token; `context` is for https."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    sent = {"Connection": "close", **(headers or {})}
    if isinstance(auth, str):
        sent["Authorization"] = "Bearer " + auth
    elif auth:
        sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    if body is not None and not isinstance(body, (bytes, str)):
        body = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    try:
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        with contextlib.suppress(ValueError):
            return answer.status, answer.headers, json.loads(text)
        return answer.status, answer.headers, text
    finally:
        connection.close()


class Process:
    """A program of the platform: in a process group of its own, with a log file."""

    def __init__(self, name, command, directory, environment=None):
        self.name, self.command = name, [str(word) for word in command]
        self.log = directory / f"{name}.log"
        self.directory, self.environment = directory, environment
        self.running = None

    def start(self):
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, **(self.environment or {})}, start_new_session=True)

    @property
    def pid(self):
        return self.running.pid

    def alive(self):
        return self.running is not None and self.running.poll() is None

    def kill(self, number=signal.SIGKILL):
        self.running.send_signal(number)

    def stop(self, number=signal.SIGTERM, deadline=END_DEADLINE):
        """Ends it, by SIGKILL after the deadline. Gives its exit status."""
        if self.running is None:
            return None
        if self.alive():
            self.running.send_signal(signal.SIGCONT)
            self.running.send_signal(number)
            try:
                self.running.wait(deadline)
            except subprocess.TimeoutExpired:
                self.running.kill()
        return self.running.wait()


class Operation:
    """What last_operation said, from the first poll to the end of the operation."""

    def __init__(self):
        self.lines = []  # (state, description), each different from the one before
        self.seconds = 0.0
        self.gone = False  # last_operation ended with 410

    @property
    def state(self):
        return "gone" if self.gone else self.lines[-1][0] if self.lines else None

    @property
    def description(self):
        return self.lines[-1][1] if self.lines else ""

    @property
    def descriptions(self):
        return [description for _, description in self.lines]

    def must_succeed(self):
        if self.state not in ("succeeded", "gone"):
            raise Failed(f"the operation ended as {self.state}: {self.description}")
        return self


class Writer:
    """Inserts numbered rows through a public port and notes which ones were acknowledged, when.

    It uses one connection at a time, gives up on a connection or a statement after half a second,
    and connects again: what an application with sensible time-outs would see.
    """

    TIMEOUT = 0.5
    PAUSE = 0.01  # 100 rows a second: the resolution of the gaps

    def __init__(self, uri, table="written"):
        self.uri, self.table = uri, table
        self.acknowledged = []  # (number, time)
        self.errors = []  # (time, text), each different from the one before
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self):
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            connection.autocommit = True
            connection.cursor().execute(
                f"create table if not exists {self.table} (number bigint primary key)")
            cursor = connection.cursor()
            cursor.execute(f"select coalesce(max(number), 0) from {self.table}")
            self.next = cursor.fetchone()[0] + 1
        self.started = time.monotonic()
        self.thread.start()
        self.wait_for_writes(1)
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(10)

    def wait_for_writes(self, count):
        """Waits until that many more rows were acknowledged."""
        goal = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= goal,
                   lambda: f"{count} more rows written; last error: {self.errors[-1:]}")

    def longest_gap(self, since=None, until=None):
        """The longest time between two successful writes, in seconds. A gap that began before
        `since` or ended after `until` counts as a whole."""
        times = [at for _, at in self.acknowledged]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])
                if (since is None or later > since) and (until is None or earlier < until)]
        return max(gaps, default=0.0)

    def missing(self):
        """The acknowledged numbers that are not in the table."""
        with contextlib.closing(psycopg2.connect(self.uri, connect_timeout=60)) as connection:
            cursor = connection.cursor()
            cursor.execute(f"select number from {self.table}")
            present = {row[0] for row in cursor.fetchall()}
        return sorted(number for number, _ in self.acknowledged if number not in present)

    def _write(self):
        connection = None
        while not self.ended.is_set():
            number, self.next = self.next, self.next + 1
            try:
                if connection is None:
                    connection = psycopg2.connect(self.uri, async_=1)
                    self._finish(connection)
                cursor = connection.cursor()
                cursor.execute(f"insert into {self.table} values (%s)", (number,))
                self._finish(connection)
                self.acknowledged.append((number, time.monotonic()))
            except (psycopg2.Error, Failed, OSError) as error:
                text = str(error).strip().split("\n")[0]
                if not self.errors or self.errors[-1][1] != text:
                    self.errors.append((time.monotonic(), text))
                if connection is not None:
                    connection.close()
                    connection = None
            self.ended.wait(self.PAUSE)
        if connection is not None:
            connection.close()

    def _finish(self, connection):
        end = time.monotonic() + self.TIMEOUT
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            left = end - time.monotonic()
            if left <= 0:
                raise Failed("no answer from PostgreSQL in time")
            reads = [connection] if state == psycopg2.extensions.POLL_READ else []
            writes = [connection] if state == psycopg2.extensions.POLL_WRITE else []
            select.select(reads, writes, [], left)


def processes_of(directory):
    """The pids of all processes whose command line or working directory is in that directory."""
    wanted = str(directory)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = pathlib.Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
            try:
                inside = os.readlink(f"/proc/{entry}/cwd")
            except OSError:
                inside = ""
            if wanted in command or (inside + "/").startswith(wanted + "/"):
                found.append(int(entry))
    return found


def parent_of(pid):
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE).group(1))
    return None


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def descendants_of(pid):
    """The pids of all processes below one, from the top down."""
    found = [pid]
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(parent_of(int(entry)), []).append(int(entry))
    for one in found:
        found += children.get(one, [])
    return found[1:]


def ask_postgresql(connect, statement, *values):
    """The rows of one statement on a connection of its own."""
    with contextlib.closing(connect()) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def encoded(text):
    """As etcd's JSON gateway wants keys and values."""
    return base64.b64encode(text.encode()).decode()


def name_of_process(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def is_namespace_init(pid):
    """Whether that process is pid 1 of a PID namespace below ours."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        inner = re.search(r"^NSpid:(.*)$", status, re.MULTILINE).group(1).split()
        return len(inner) > 1 and inner[-1] == "1"
    return False


def listening_below(octet):
    """The addresses `ip:port` below 127.octet that somebody listens on, and below no address."""
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] != "0A":  # LISTEN
            continue
        address, port = words[1].split(":")
        ip = socket.inet_ntoa(bytes.fromhex(address)[::-1])
        if ip.startswith(f"127.{octet}."):
            found.add(f"{ip}:{int(port, 16)}")
    return found


def password_for(user):
    """A word that stands nowhere else; the same each time."""
    return hashlib.sha256(f"the password of {user}".encode()).hexdigest()[:32]


def certificate_for(directory, address):
    """A self-signed certificate for an address: (certificate's file, key's file)."""
    certificate, key = directory / "certificate.pem", directory / "certificate-key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", "/CN=matriarch", "-keyout", key, "-out", certificate,
                    "-addext", f"subjectAltName=IP:{address},IP:127.0.0.1"],
                   check=True, capture_output=True, timeout=PATIENCE)
    key.chmod(0o600)
    return certificate, key


class Platform:
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
        self.held = []  # the cells that do what a test tells them
        self.plan_of = {}  # instance -> plan, of those that have another than PLAN
        # Where secrets are looked for, each is a word that means nothing else.
        own = lambda name: password_for(name) if secrets else PASSWORD
        self.auth = (USERNAME, own("platform"))
        self.admin_auth = ("operator", own("operator")) if secrets else self.auth
        self.token = own("token")
        self.cell_credentials = ("containers", own("cells") if secrets else "containers")
        self.first_key = hashlib.sha256(password_for("key").encode()).hexdigest()
        self.etcd_token = None
        self.tls_context = None
        # Whom the broker takes for a cell is the affair of scenarios about it; this only asks.
        self.any_cell = ssl.create_default_context()
        self.any_cell.check_hostname, self.any_cell.verify_mode = False, ssl.CERT_NONE
        # What must not change either when nothing may: functions that give something comparable.
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
        # SIGTERM ends the program like Ctrl-C does: through the `with` block's end.
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
        # The user postgres has to get to its nodes' directories.
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

        Gives what was wrong with how this project's programs ended, in words: sanitizers' reports
        and exit codes.
        """
        if self.directory is None or not self.stopped.acquire(blocking=False):
            return []
        # From here on nothing may interrupt: every wait below ends by itself.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for cell in self.held:
            cell.close()
        others = [process for process in self.processes if process not in self.etcds]
        own = [process for process in others if process.alive() and process.command[0].startswith(str(BUILD))]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda process: process.stop(deadline=STOP_DEADLINE), others))
        # Cells leave their nodes running when they stop. Each node's pid 1, asked to end, stops
        # PostgreSQL cleanly, for which Patroni needs etcd; whatever is left then is killed.
        etcd_pids = [member.pid for member in self.etcds if member.running]
        left = lambda: [pid for pid in processes_of(self.directory) if pid not in etcd_pids]
        for pid in left():
            # Patroni stops PostgreSQL fast; PostgreSQL itself would wait for its clients.
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
        # SIGKILL is how stop() itself ends one that is too slow.
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
        """What sanitizers have written since the last call, into any log of the platform's programs."""
        return self.reports.new_in(self.directory.glob("*.log"))

    def _choose_addresses(self):
        # An abstract socket's name belongs to the machine's network, like the addresses it stands
        # for (a lock file would not reach across a chroot), and ends with this process.
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
        # As many as the largest scenario uses: HAProxy has each of them from its start.
        self.public_ports = {"first": 30000, "last": 32767 if self.fixed or self.simulated else 30499}
        # Where the brokers listen, and HAProxy in front of them. What is told to a person is port 3000.
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
        # The first is where this program asks.
        self.etcd_uris = [f"{scheme}://{host}:2379" for host in
                          [self.address, *(f"127.{octet}.0.{10 + n}" for n in range(2, self.etcd_count + 1))]]
        self.etcd_uri = self.etcd_uris[0]
        self.broker_uri = f"http://{self.broker_host}:{self.broker_port}"
        # For the operator's commands.
        self.broker_uri_with_credentials = (
            f"http://{self.admin_auth[0]}:{self.admin_auth[1]}@{self.broker_host}:{self.broker_port}")
        self.choose_cells()

    def choose_cells(self):
        """guid -> (number, availability zone, agent's address), of the cells in conf/dev.yml."""
        self.cell_addresses = {
            cell["guid"]: (n, cell["availability_zone"],
                           cell["uri"].split("//")[1] if self.fixed else f"127.{self.octet}.{n}.1:8901")
            for n, cell in enumerate(self._example_cells(), 1)}
        self.guids = list(self.cell_addresses)
        self.zones = {guid: zone for guid, (_, zone, _) in self.cell_addresses.items()}

    def _start_held_cells(self):
        from held_cell import HeldCell
        for number in range(1, self.held_count + 1):
            self.held.append(HeldCell(f"held-{number}", f"z{number}", f"127.{self.octet}.{100 + number}.1", self))

    def _write_configurations(self):
        directory = self.directory
        add = self._add_process
        peers = [uri.replace("https", "http").replace(":2379", ":2380") for uri in self.etcd_uris]
        names = ["etcd", *(f"etcd-{number}" for number in range(2, self.etcd_count + 1))]
        for name, uri, peer in zip(names, self.etcd_uris, peers):
            self.etcds.append(add(name, [
                "etcd", "--name", name, "--data-dir", directory / name,
                "--listen-client-urls", uri, "--advertise-client-urls", uri,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", ",".join(f"{other}={at}" for other, at in zip(names, peers)),
                # The cheapest: each login costs what this says.
                "--bcrypt-cost", "4",
                "--logger", "zap", "--log-level", "warn",
                *(["--quota-backend-bytes", self.etcd_quota] if self.etcd_quota else []),
                *(["--cert-file", self.certificate, "--key-file", self.certificate_key] if self.etcd_tls else [])]))
        self.etcd = self.etcds[0]
        if self.etcd_slow:
            self.proxy = SlowProxy((f"127.{self.octet}.0.3", 2379), (self.address, 2379))
        self.cells = []
        for guid, (number, zone, address) in self.cell_addresses.items():
            if self.simulated:
                program = pathlib.Path(__file__).with_name("simulated_cell.py")
                command = ["/usr/bin/python3", program, "--guid", guid, "--listen", address,
                           "--etcd", self.etcd_uri, "--zone", zone, "--failures", self.failures]
            else:
                path = directory / f"{guid}.yml"
                self._write(path, "cell", self.cell_configuration(number, guid, zone, address))
                command = [MATRIARCH, "cell", "--config", path]
            self.cells.append(add(guid, command))
        path = directory / "router.yml"
        self._write(path, "router", self.router_configuration())
        self.router = None if self.simulated else add("router", [MATRIARCH, "router", "--config", path])
        for number, where in enumerate(self.broker_addresses, 1):
            name = "broker" if self.broker_count == 1 else f"broker-{number}"
            path = directory / f"{name}.yml"
            self._write(path, "broker", self.broker_configuration(where))
            self.brokers.append(add(name, [MATRIARCH, "broker", "--config", path]))
        self.broker, self.broker_config = self.brokers[0], directory / f"{self.brokers[0].name}.yml"

    def _write(self, path, kind, config):
        """Passwords may be in it: nobody else reads it."""
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

    def broker_configuration(self, where=None):
        """conf/dev.yml with this platform's addresses; `where` that broker listens: (host, port)."""
        config = self._example("dev")
        host, port = where or self.broker_addresses[0]
        config["broker"].update(port=port, bind_host=host,
                                advertise_host=self.public_host)
        config["etcd"]["machines"] = [self.proxy.uri] if self.proxy else self.etcd_uris
        config["broker"]["strict"] = self.strict
        config["routing"].update(self.public_ports)
        # Simulated cells have no databases, so there is no router to serve any.
        if self.simulated:
            config["routing"]["wait_for_routers"] = False
        config["cells"] = self._example_cells()
        for cell in config["cells"]:
            cell["uri"] = ("http://" if self.simulated else "https://") + self.cell_addresses[cell["guid"]][2]
            cell["username"], cell["password"] = self.cell_credentials
        for cell in self.held:
            config["cells"].append({"guid": cell.guid, "availability_zone": cell.zone, "uri": cell.uri,
                                    "username": self.cell_credentials[0], "password": self.cell_credentials[1]})
        if self.secrets:
            del config["broker"]["password"]
            config["broker"]["password_file"] = self.secret_file("platform", self.auth[1])
            config["broker"]["users"] = [{"token_file": self.secret_file("token", self.token)}]
            config["broker"]["admin"] = {"username": self.admin_auth[0],
                                         "password_file": self.secret_file("operator", self.admin_auth[1])}
            self.key_file = self.secret_file("keys", self.first_key)
            config["secrets"] = {"key_file": self.key_file}
            config["audit"] = {"file": str(self.audit_file)}
        return config

    def secret_file(self, name, text):
        """Writes a file that only its owner reads; gives its path."""
        path = self.directory / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text + "\n")
        return str(path)

    @property
    def audit_file(self):
        return self.directory / "audit.jsonl"

    def _example_cells(self):
        cells = self._example("dev")["cells"]
        if self.cell_count is not None:
            cells = [{"guid": f"cell-z{1 + n % 2}-{1 + n // 2}", "availability_zone": f"z{1 + n % 2}"}
                     for n in range(self.cell_count)]
        return cells

    @staticmethod
    def _example(name):
        return yaml.safe_load(CONFIGURATIONS.joinpath(f"{name}.yml").read_text())

    def cell_configuration(self, number, guid, zone, address):
        """conf/cell.yml with this platform's addresses and Patroni's shortest times."""
        config = self._example("cell")
        config["cell"].update(
            guid=guid, availability_zone=zone, bind_host=address.split(":")[0],
            port=int(address.split(":")[1]), data_dir=str(self.directory / guid),
            addresses=f"127.{self.octet}.{number}.0/24",
            username=self.cell_credentials[0], password=self.cell_credentials[1])
        for unused in ("uri", "host", "first_port", "last_port", "run_as"):
            config["cell"].pop(unused, None)
        config["etcd"]["machines"] = self.etcd_uris
        config.setdefault("patroni", {}).update(ttl=5, loop_wait=1, retry_timeout=2)
        return config

    def router_configuration(self):
        """conf/router.yml with this platform's addresses."""
        config = self._example("router")
        config["router"].update(bind_host=self.public_host, data_dir=str(self.directory / "router"))
        config["router"]["status"] = {"bind_host": self.address, "port": 8890}
        config["router"]["ports"] = self.public_ports
        config["broker"] = {"listen": self.fronted_port,
                            "servers": [f"{host}:{port}" for host, port in self.broker_addresses]}
        config["etcd"]["machines"] = self.etcd_uris
        if self.tls:
            config["broker"]["tls"] = {"certificate": str(self.certificate), "key": str(self.certificate_key)}
        return config

    # --- etcd's users --------------------------------------------------------------------------

    @staticmethod
    def etcd_password(user):
        return password_for("etcd's " + user)

    def _turn_on_etcd_users(self):
        """The users as an operator would make them: each program may do what it has to."""
        def permit(role, permission, prefix):
            permit_range(role, permission, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
        def permit_range(role, permission, first, end):
            self.etcd_call("/v3/auth/role/grant", {"name": role, "perm": {
                "permType": permission, "key": encoded(first), "range_end": encoded(end)}})
        def permit_one(role, permission, key):
            self.etcd_call("/v3/auth/role/grant", {"name": role, "perm": {"permType": permission, "key": encoded(key)}})
        for user in ("root", "broker", *self.guids, "router"):
            self.etcd_call("/v3/auth/user/add", {"name": user, "password": self.etcd_password(user)})
        for role in ("root", *self.guids, "router"):
            self.etcd_call("/v3/auth/role/add", {"name": role})
        # Each cell speaks for itself alone: a certificate is signed for whoever may write its key.
        for guid in self.guids:
            permit_one(guid, "READWRITE", f"/cells/{guid}")
            permit_one(guid, "READ", f"/cells/{guid}/certificate")
            permit_one(guid, "READ", "/routing/fleet")
            permit(guid, "READWRITE", "/postgresql-brokerpatroni/")
        permit_range("router", "READ", "/routers/", "/service0")
        permit("router", "READWRITE", "/routers/")
        # The broker makes a user for each scope, for which etcd demands the role root.
        for user, role in (("root", "root"), ("broker", "root"), ("router", "router"),
                           *((guid, guid) for guid in self.guids)):
            self.etcd_call("/v3/auth/user/grant", {"user": user, "role": role})
        self.etcd_call("/v3/auth/enable", {})
        self.etcd_users_at_start = self.etcd_users()

    def etcd_users(self):
        """The names of all users of etcd."""
        return sorted(self.etcd_call("/v3/auth/user/list", {}).get("users", []))

    def etcd_status(self, path, body, user=None, password=None):
        """A request to etcd's JSON gateway as that user, or as nobody: (status, JSON)."""
        headers = {}
        if user is not None:
            status, answer = self._post_to_etcd("/v3/auth/authenticate", {"name": user, "password": password})
            if status != 200:
                return status, answer
            headers["Authorization"] = answer["token"]
        return self._post_to_etcd(path, body, headers)

    def _post_to_etcd(self, path, body, headers=None):
        status, _, answer = http_json("POST", self.etcd_uri + path, body, headers, timeout=60,
                                      context=self.tls_context)
        return status, answer

    def etcd_call(self, path, body):
        """A request to etcd that must succeed; as root where there are users."""
        def ask():
            return self._post_to_etcd(path, body, {"Authorization": self.etcd_token} if self.etcd_token else {})
        status, answer = ask()
        if status in (400, 401) and self.etcd_auth:  # no token yet, or one that has ended
            self.etcd_token = self._post_to_etcd("/v3/auth/authenticate", {
                "name": "root", "password": self.etcd_password("root")})[1]["token"]
            status, answer = ask()
        if status != 200:
            raise Failed(f"etcd answered {status} to {path}: {answer}")
        return answer

    # --- is it there ---------------------------------------------------------------------------

    def _etcd_healthy(self):
        if not self.etcd.alive():
            raise Failed(f"etcd ended: {tail(self.etcd.log)}")
        with contextlib.suppress(OSError):
            return http_json("GET", self.etcd_uri + "/health", timeout=20, context=self.tls_context)[0] == 200
        return False

    def wait_broker(self):
        """Waits until the broker serves the catalog."""
        def serves():
            if not self.broker.alive():
                raise Failed(f"the broker ended: {tail(self.broker.log)}")
            with contextlib.suppress(OSError):
                return self.osb("GET", "/v2/catalog", timeout=20)[0] == 200
            return False
        wait_until(serves, "the broker to serve")

    def wait_broker_acts(self):
        """Waits until /healthz says that the broker reaches etcd, has loaded and holds the lease."""
        last = {}
        def acts():
            with contextlib.suppress(OSError):
                answer = self.osb("GET", "/healthz", auth=None, timeout=20)[2]
                last.update(answer if isinstance(answer, dict) else {})
                # "degraded" it may be all the same, for instance while no router is there.
                return last.get("etcd") == "reachable" and last["instances_loaded"] and last["active"]
            return False
        wait_until(acts, lambda: f"the broker to act; /healthz said {last}")

    def wait_cells_seen(self):
        """Waits until the broker reaches every cell."""
        unseen = []
        def all_seen():
            status, _, answer = self.osb("GET", "/admin/cells")
            unseen[:] = [cell["guid"] for cell in answer if not cell["reachable"]] if status == 200 else [answer]
            return not unseen
        wait_until(all_seen, lambda: f"the broker to reach {unseen}")

    def wait_cell(self, guid):
        """Waits until a cell's agent answers."""
        process = self.cell(guid)
        def serves():
            if not process.alive():
                raise Failed(f"{guid} ended: {tail(process.log)}")
            with contextlib.suppress(OSError):
                return self.cell_request(guid, "GET", "/healthz", timeout=20)[0] == 200
            return False
        wait_until(serves, f"{guid} to serve")

    def _router_ready(self):
        if self.router is None:
            return True
        if not self.router.alive():
            raise Failed(f"the router ended: {tail(self.router.log)}")
        with contextlib.suppress(OSError):
            return http_json("GET", f"{self.fronted_uri}/v2/catalog",
                             headers={"X-Broker-API-Version": API_VERSION},
                             auth=self.auth, timeout=20, context=self.tls_context)[0] == 200
        return False

    @property
    def fronted_uri(self):
        """The broker through the router's HAProxy."""
        return f"{'https' if self.tls else 'http'}://{self.public_host}:{self.fronted_port}"

    # --- the broker's API ----------------------------------------------------------------------

    def osb(self, method, path, body=None, params=None, headers=None, auth=ITS_OWN, timeout=70,
            broker=None):
        """A request to the broker, or to the one of that number, from 0: (status, headers, JSON)."""
        if auth is ITS_OWN:
            auth = self.admin_auth if path.startswith("/admin") else self.auth
        query = "?" + urllib.parse.urlencode(params) if params else ""
        uri = self.broker_uri if broker is None else "http://{}:{}".format(*self.broker_addresses[broker])
        answer = http_json(method, uri + path + query, body,
                           {"X-Broker-API-Version": API_VERSION, **(headers or {})}, auth, timeout)
        if path.startswith("/v2"):
            self._names_no_address(f"{method} {path}", answer)
        return answer

    @staticmethod
    def _names_no_address(what, answer):
        """No answer that users of the platform read may say where its parts are, whatever a test is about."""
        said = answer[2].get("description", "") if isinstance(answer[2], dict) else ""
        if re.search(r"\d+\.\d+\.\d+\.\d+|://|localhost", said):
            raise Failed(f"{what} answers {answer[0]} and names an address: {said}")

    @staticmethod
    def instance_path(instance):
        return "/v2/service_instances/" + urllib.parse.quote(instance, safe="")

    def provision(self, instance, nodes=None, cells=None, expect=202, plan=PLAN):
        """Asks for a cluster, asynchronously. Gives the answer's JSON."""
        parameters = {}
        if nodes is not None:
            parameters["node-count"] = nodes
        if cells is not None:
            parameters["cells"] = cells
        elif self.held:
            parameters["cells"] = self.guids  # not on those that only pretend
        if plan != PLAN:
            self.plan_of[instance] = plan
        return self._expect(expect, "PUT", self.instance_path(instance), {
            "service_id": SERVICE, "plan_id": plan, "organization_guid": "org",
            "space_guid": "space", "parameters": parameters}, {"accepts_incomplete": "true"})

    def update(self, instance, expect=202, plan=None, body=None, **parameters):
        """Asks for a change, asynchronously: update("db", node_count=3, cells=[…], plan=…)."""
        wanted = {"service_id": SERVICE, **(body or {})}
        if parameters:
            wanted["parameters"] = {name.replace("_", "-"): value for name, value in parameters.items()}
        if plan is not None:
            wanted["plan_id"] = plan
        answer = self._expect(expect, "PATCH", self.instance_path(instance), wanted,
                              {"accepts_incomplete": "true"})
        if plan is not None and expect in (200, 202):
            self.plan_of[instance] = plan
        return answer

    def ids_of(self, instance):
        return {"service_id": SERVICE, "plan_id": self.plan_of.get(instance, PLAN)}

    def deprovision(self, instance, expect=202):
        return self._expect(expect, "DELETE", self.instance_path(instance), None, {
            **self.ids_of(instance), "accepts_incomplete": "true"})

    def binding_path(self, instance, binding):
        return f"{self.instance_path(instance)}/service_bindings/{urllib.parse.quote(binding, safe='')}"

    def bind(self, instance, binding, expect=201, **body):
        """Binds; gives the credentials. Further fields of the request: app_guid="…", parameters={…}."""
        return self.bound(instance, binding, expect, **body).get("credentials")

    def bound(self, instance, binding, expect=201, **body):
        """Binds; gives all of the answer."""
        return self._expect(expect, "PUT", self.binding_path(instance, binding),
                            {**self.ids_of(instance), **body})

    def unbind(self, instance, binding, expect=200):
        return self._expect(expect, "DELETE", self.binding_path(instance, binding), None,
                            self.ids_of(instance))

    def _expect(self, expect, method, path, body=None, params=None):
        status, _, answer = self.osb(method, path, body, params)
        if status != expect:
            raise Failed(f"{method} {path} was answered {status} instead of {expect}: {answer}")
        return answer

    def last_operation(self, instance, binding=None):
        """(status, JSON) of last_operation, of an instance or of a binding."""
        path = self.instance_path(instance) if binding is None else self.binding_path(instance, binding)
        status, _, answer = self.osb("GET", path + "/last_operation")
        return status, answer

    def wait_operation(self, instance, heard=None, until=None, binding=None):
        """Polls last_operation until the operation ends, or `until(operation)` is true. `heard`
        gets each new line."""
        operation = Operation()
        start = time.monotonic()
        while True:
            try:
                status, answer = self.last_operation(instance, binding)
            except OSError:
                status, answer = 0, None  # the broker may be restarting
            operation.seconds = time.monotonic() - start
            if status == 410:
                operation.gone = True
                return operation
            if status == 200:
                line = (answer["state"], answer.get("description", ""))
                if operation.lines[-1:] != [line]:
                    operation.lines.append(line)
                    if heard:
                        heard(*line)
                if line[0] != "in progress" or (until and until(operation)):
                    return operation
            elif status not in (0, 503):
                raise Failed(f"last_operation of {instance} was answered {status}: {answer}")
            if operation.seconds > PATIENCE:
                raise Failed(f"{instance} was not done in {PATIENCE} s; last_operation: "
                             f"{operation.lines[-1:]}")
            rest(start)

    def create(self, instance, nodes=2, cells=None, plan=PLAN):
        """A cluster from PUT to `succeeded`."""
        self.provision(instance, nodes, cells, plan=plan)
        return self.wait_operation(instance).must_succeed()

    def remove(self, instance):
        """The end of a cluster, from DELETE to 410."""
        self.deprovision(instance)
        operation = self.wait_operation(instance).must_succeed()
        return operation

    def admin(self, instance):
        """The cluster's record as the admin API shows it."""
        return self._expect(200, "GET", "/admin/service_instances/" + urllib.parse.quote(instance, safe=""))

    def nodes_of(self, instance):
        """node_id -> guid of its cell, as recorded."""
        return {node["node_id"]: node["backend_id"] for node in self.admin(instance)["nodes"]}

    # --- the cells -----------------------------------------------------------------------------

    def cell(self, guid):
        return self.cells[self.guids.index(guid)]

    def cell_request(self, guid, method, path, body=None, timeout=40):
        return http_json(method, f"{self.cell_scheme}://{self.cell_addresses[guid][2]}{path}", body,
                         context=self.any_cell, auth=self.cell_credentials, timeout=timeout)

    @property
    def cell_scheme(self):
        return "http" if self.simulated else "https"

    def running_nodes(self):
        """node_id -> (guid, scope) of every node that a cell has, whatever the broker knows."""
        found = {}
        for guid in self.guids:
            status, _, answer = self.cell_request(guid, "GET", "/v2/service_instances")
            if status != 200:
                raise Failed(f"{guid} answered {status} when asked for its nodes: {answer}")
            for node in answer["nodes"]:
                found[node["node_id"]] = (guid, node["scope"])
        for cell in self.held:
            found.update({node: (cell.guid, scope) for node, scope in dict(cell.nodes).items()})
        return found

    def node_files(self, node):
        """The directory of a node on its cell."""
        for guid in self.guids:
            if (self.directory / guid / "nodes" / node).is_dir():
                return self.directory / guid / "nodes" / node
        raise Failed(f"no cell has files of node {node}")

    def node_configuration(self, node):
        """What the cell wrote for a node's Patroni: addresses and passwords, as root sees them."""
        return yaml.safe_load((self.node_files(node) / "patroni.yml").read_text())

    def ask_patroni(self, node, method, path, body=None, **other):
        """A request to a node's Patroni; where it speaks TLS it has to show a certificate of the fleet's authority."""
        restapi = self.node_configuration(node)["restapi"]
        if "certfile" not in restapi:
            return http_json(method, f"http://{restapi['connect_address']}{path}", body, **other)
        context = ssl.create_default_context(cafile=restapi["cafile"])
        return http_json(method, f"https://{restapi['connect_address']}{path}", body, context=context, **other)

    def connect(self, node, database="postgres", **parameters):
        """A connection to one node's PostgreSQL, as the superuser unless told otherwise."""
        config = self.node_configuration(node)["postgresql"]
        host, port = config["connect_address"].rsplit(":", 1)
        superuser = config["authentication"]["superuser"]
        connection = psycopg2.connect(**{
            "host": host, "port": port, "dbname": database, "connect_timeout": 20,
            "user": superuser["username"], "password": superuser["password"], **parameters})
        connection.autocommit = True
        return connection

    def ask_node(self, node, statement, *values, **parameters):
        """The rows that a statement gives on one node, as the superuser unless told otherwise."""
        return ask_postgresql(lambda: self.connect(node, **parameters), statement, *values)

    def roles(self, instance):
        """The roles on the leader, with what they may: (name, may log in, may connect how often)."""
        return self.ask_node(self.leader(instance), "select rolname, rolcanlogin, rolconnlimit, rolsuper "
                             "from pg_roles where rolname !~ '^pg_' order by 1")

    def freeze_node(self, node, number=signal.SIGSTOP):
        """Stops all processes of a node where they are; SIGCONT lets them go on."""
        above = self.node_pid(node)
        for pid in [above, *descendants_of(above)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @staticmethod
    def freeze_process(process, go_on=False):
        """Stops one of the platform's programs where it is, or lets it go on."""
        process.kill(signal.SIGCONT if go_on else signal.SIGSTOP)

    @contextlib.contextmanager
    def frozen_processes(self, processes):
        """These of the platform's programs stand still inside, and go on afterwards."""
        for process in processes:
            self.freeze_process(process)
        try:
            yield
        finally:
            for process in processes:
                self.freeze_process(process, go_on=True)

    @contextlib.contextmanager
    def frozen(self, *nodes):
        """All processes of these nodes stand still inside, and go on afterwards if the cell has not
        killed them: it does so with a leader that does not answer while another one leads."""
        for node in nodes:
            self.freeze_node(node)
        try:
            yield
        finally:
            for node in nodes:
                with contextlib.suppress(Failed):
                    self.freeze_node(node, signal.SIGCONT)

    def node_pid(self, node):
        """The pid, as seen from here, of pid 1 of the node's PID namespace (or of its Patroni)."""
        of_node = [pid for pid in processes_of(self.directory)
                   if any(node in word for word in command_of(pid))]
        for pid in of_node:
            if is_namespace_init(pid):
                return pid
        # Without fencing there is no namespace.
        for pid in of_node:
            if any(word.endswith("/patroni") for word in command_of(pid)):
                return pid
        raise Failed(f"no process of node {node} found")

    def kill_node(self, node):
        """kill -9 of everything of a node at once: its namespace's pid 1."""
        os.kill(self.node_pid(node), signal.SIGKILL)

    def kill_machine(self, guid):
        """kill -9 of a cell's agent and of all its nodes, as if the machine had lost its power."""
        self.cell(guid).kill()
        self.cell(guid).running.wait()
        for node in sorted(path.name for path in self._node_files(guid)):
            with contextlib.suppress(Failed, ProcessLookupError):  # it may be ending just now
                self.kill_node(node)

    def start_machine(self, guid):
        """Starts a cell's agent, which starts its nodes."""
        self.cell(guid).start()
        self.wait_cell(guid)

    # --- etcd and Patroni ----------------------------------------------------------------------

    def keys(self, prefix="/"):
        """key -> value of everything below a prefix, read linearizably."""
        first = prefix.encode()
        last = first[:-1] + bytes([first[-1] + 1])
        answer = self.etcd_call("/v3/kv/range", {
            "key": base64.b64encode(first).decode(), "range_end": base64.b64encode(last).decode()})
        return {base64.b64decode(entry["key"]).decode(): base64.b64decode(entry.get("value", "")).decode()
                for entry in answer.get("kvs", [])}

    def put_key(self, key, value):
        self.etcd_call("/v3/kv/put", {"key": encoded(key), "value": encoded(value)})

    def erase_key(self, key):
        self.etcd_call("/v3/kv/deleterange", {"key": encoded(key)})

    def record(self, instance):
        """The instance's record in etcd; None if there is none."""
        text = self.keys(f"/service/{instance}/state").get(f"/service/{instance}/state")
        return None if text is None else json.loads(text)

    def scope_of(self, instance):
        return self.record(instance)["scope"]

    def leader(self, instance):
        """The node id that leads, by Patroni's key; None between leaders."""
        return self.keys(f"/service/{self.scope_of(instance)}/leader").get(
            f"/service/{self.scope_of(instance)}/leader")

    def wait_all_running(self, instance, nodes):
        """Waits until one member leads, and that many members run."""
        def all_running():
            scope = self.scope_of(instance)
            members = [json.loads(text) for text in self.keys(f"/service/{scope}/members/").values()]
            leaders = [member for member in members if member["role"] in ("master", "primary")]
            return (len(members) == nodes and len(leaders) == 1
                    and all(member["state"] in ("running", "streaming") for member in members)
                    and self.leader(instance))
        return wait_until(all_running, f"{nodes} running members of {instance}")

    def public_port(self, instance):
        return int(self.keys(f"/routing/allocation/{instance}")[f"/routing/allocation/{instance}"])

    def read_only_port(self, instance):
        """The second public port; None while there is none."""
        text = self.keys(f"/routing/readonly/{instance}").get(f"/routing/readonly/{instance}")
        return None if text is None else int(text)

    # --- what may happen to the broker ---------------------------------------------------------

    def health(self, broker=None, params=None):
        """What /healthz says: (status, JSON); (0, {}) if there is no answer."""
        try:
            status, _, answer = self.osb("GET", "/healthz", None, params, auth=None, timeout=5, broker=broker)
            return status, answer if isinstance(answer, dict) else {}
        except OSError:
            return 0, {}

    def active_broker(self):
        """The number, from 0, of the broker that says it acts; None while none does."""
        for number in range(len(self.brokers)):
            if self.health(number, {"active": ""})[0] == 200:
                return number
        return None

    def wait_active_broker(self, other_than=None):
        """Waits until a broker acts, and not that one. Gives its number."""
        def acts():
            number = self.active_broker()
            return None if number in (None, other_than) else (number,)
        return wait_until(acts, "a broker to act")[0]

    def restart_broker(self, kill9=False):
        """Ends the broker (kill -9, or SIGTERM and a clean end) and starts it again."""
        self.stop_broker(kill9)
        self.start_broker()

    def stop_broker(self, kill9=False):
        if kill9:
            self.broker.kill()
            self.broker.running.wait()
            return
        status = self.broker.stop()
        if status != 0:
            raise Failed(f"the broker ended with status {status} after SIGTERM")

    def start_broker(self):
        self.broker.start()
        self.wait_broker()
        self.wait_broker_acts()

    # --- what may be left ----------------------------------------------------------------------

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

    def _is_routers_haproxy(self, command):
        """Also when its router was killed and another one has adopted it."""
        return "haproxy" in "".join(command[:1]) and f"{self.directory}/router/" in " ".join(command)

    def _new_addresses(self):
        return sorted(listening_below(self.octet) - self.listening_at_start)

    @staticmethod
    def rests(value):
        """Whether a port's key says that no instance holds the port any more."""
        with contextlib.suppress(ValueError):
            return "resting_since" in json.loads(value)
        return False

    def _node_files(self, guid):
        nodes = self.directory / guid / "nodes"
        return sorted(nodes.iterdir()) if nodes.is_dir() else []


def tail(log, lines=8):
    """The last lines of a log file, for messages."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"
