"""Between broker and cells: TLS by the fleet's authority, verified on both sides, and nothing
unencrypted."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time

import yaml

from asking import encoded, http_json
from checks import equal, scenario, true
from hostile_clients import raise_descriptor_limit
from secrecy import configured as operators_secrets, must_not_show, of_node, shows
from tenants import GUARDED
from waiting import wait_until

PLATFORM = GUARDED

SILENT = 1_200  # more than the port of a cell keeps


def finish(platform):
    for entry in platform.osb("GET", "/admin/service_instances")[2]:
        platform.deprovision(entry["instance_id"])
        platform.wait_operation(entry["instance_id"]).must_succeed()


def seen(platform, guid):
    return next(cell for cell in platform.osb("GET", "/admin/cells")[2] if cell["guid"] == guid)


def word_for(platform, guid):
    return yaml.safe_load(platform.keys(f"/cells/{guid}/").get(f"/cells/{guid}/certificate", "{}"))


@contextlib.contextmanager
def configured(platform, change):
    """Runs the broker with a changed configuration, for a while."""
    text = platform.broker_config.read_text()
    config = yaml.safe_load(text)
    change(config)
    platform.broker_config.write_text(yaml.safe_dump(config))
    platform.restart_broker()
    try:
        yield
    finally:
        platform.broker_config.write_text(text)
        platform.restart_broker()
        platform.wait_cells_seen()


def cell_in(config, guid):
    return next(cell for cell in config["cells"] if cell["guid"] == guid)


class Impostor:
    """Listens at the address of a cell, and keeps what is sent to it by a broker that takes it for the
    cell."""

    def __init__(self, address, certificate=None):
        host, port = address.split(":")
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.listener = socket.create_server((host, int(port)))
        self.called, self.told = 0, b""
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.settimeout(5)
                with contextlib.suppress(OSError), connection:
                    if self.context:
                        connection = self.context.wrap_socket(connection, server_side=True)
                        self.told += connection.recv(1000)
                    else:
                        connection.recv(1000)  # the start of a handshake, which holds nothing secret
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                self.called += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


class Wire:
    """Stands between the broker and a cell, and keeps every byte that passes."""

    def __init__(self, host, cell):
        self.cell = cell.rsplit(":", 1)
        self.listener = socket.create_server((host, 0))
        self.address = f"{host}:{self.listener.getsockname()[1]}"
        self.passed = b""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                with contextlib.suppress(OSError):
                    far = socket.create_connection((self.cell[0], int(self.cell[1])))
                    for one, other in ((near, far), (far, near)):
                        threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self.passed += data
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@scenario("nothing secret can be read between broker and cell, except where the configuration says http://")
def on_the_wire(platform):
    guid = platform.guids[0]
    for scheme in ("https", "http"):
        with Wire(platform.address, platform.cell_addresses[guid][2]) as wire:
            def change(config):
                cell_in(config, guid)["uri"] = f"{scheme}://{wire.address}"
            with configured(platform, change):
                wait_until(lambda: seen(platform, guid)["reachable"], f"the broker to reach the cell by {scheme}://")
                equal(seen(platform, guid)["tls"].split(" until")[0], "TLS" if scheme == "https" else "plain HTTP",
                      "what show-cells says")
                name = f"carried-by-{scheme}"
                platform.create(name, nodes=1, cells=[guid])
                secrets = {**operators_secrets(platform), **of_node(platform, platform.leader(name))}
                true(len(wire.passed) > 2_000, "nothing passed")
                if scheme == "https":
                    must_not_show(wire.passed, secrets, "the wire")
                    # Requests share connections: not every request costs a handshake.
                    print(f"    {wire.connections} connections for {len(wire.passed)} bytes")
                    true(wire.connections <= 10, f"{wire.connections} connections")
                    refused = http_json("GET", f"http://{platform.cell_addresses[guid][2]}/healthz")
                    equal(refused[0], 400, "plain HTTP at a cell whose brokers come by TLS")
                    true("https://" in str(refused[2]), f"what is said: {refused[2]}")
                else:
                    # Plain HTTP for comparison, to show that the recording works.
                    true("the header of the cells" in shows(wire.passed, secrets), "the wire shows nothing")
                    true(any("SUPERUSER" in what for what in shows(wire.passed, secrets)) or
                         len(shows(wire.passed, secrets)) > 2, f"the wire shows {shows(wire.passed, secrets)}")
                    true(f'cell "{guid}" is reached by plain HTTP' in platform.broker.log.read_text(), "no warning")
                platform.remove(name)
    wait_until(lambda: http_json("GET", f"http://{platform.cell_addresses[guid][2]}/healthz")[0] == 400,
               "the cell to refuse plain HTTP again")


@scenario("the broker sends nothing to a server without the cell's certificate, and says what is wrong")
def impostors(platform):
    guid, other = platform.guids[:2]
    platform.create("certified", nodes=1, cells=[guid])
    files = platform.node_files(platform.leader("certified"))
    made_up = platform.directory / "made-up.pem"
    key = platform.directory / "made-up.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "9", "-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{guid}.cell.matriarch",
                    "-keyout", key, "-out", made_up], check=True, capture_output=True, timeout=60)
    made_up.write_text(made_up.read_text() + key.read_text())
    platform.cell(guid).stop()
    # Signed by the fleet but for a node, with the machine's address; another cell's; self-signed;
    # and none.
    for what, why in ((files / "server.pem", "is not that of"),
                      (platform.directory / other / "cell.pem", "is not that of"),
                      (made_up, "was signed by no authority"), (None, "does not answer by TLS")):
        with Impostor(platform.cell_addresses[guid][2], what) as impostor:
            wait_until(lambda: impostor.called >= 2, "the broker to try")
            wait_until(lambda: why in seen(platform, guid).get("last_error", ""),
                       lambda: f"{why!r} to be said; it is {seen(platform, guid)}")
            equal(impostor.told, b"", f"what the broker told who has {what}")
            true(not seen(platform, guid)["reachable"], f"who has {what} is taken for the cell")
    platform.start_machine(guid)
    wait_until(lambda: seen(platform, guid)["reachable"], "the broker to reach the cell again")


@scenario("a certificate is signed for whoever may write a cell's key, for that cell alone")
def who_may_ask(platform):
    guid, other = platform.guids[:2]
    user = (guid, platform.etcd_password(guid))
    put = lambda key: platform.etcd_status("/v3/kv/put", {"key": encoded(key), "value": encoded("{}")}, *user)[0]
    for key in (f"/cells/{other}", f"/cells/{guid}/certificate", f"/cells/{other}/certificate",
                "/matriarch/authority", "/cells/stranger"):
        true(put(key) != 200, f"a cell's user may write {key}")
    certificate = word_for(platform, guid)["certificate"]
    names = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=certificate, text=True,
                           check=True, capture_output=True, timeout=60).stdout
    address = platform.cell_addresses[guid][2].split(":")[0]
    true(f"DNS:{guid}.cell.matriarch" in names and f"IP Address:{address}" in names, f"the certificate names {names}")
    equal(names.count("DNS:"), 1, f"the hosts' names in {names}")


@scenario("a cell without a certificate is named, and answers soon after a broker acts, also if its disk was lost")
def first_start(platform):
    guid = platform.guids[2]
    pem = platform.directory / guid / "cell.pem"
    before = pem.read_text()
    platform.cell(guid).stop()
    pem.unlink()
    wait_until(lambda: f"/cells/{guid}" not in platform.keys("/cells/"), "the cell's lease to end")
    platform.erase_key(f"/cells/{guid}/certificate")
    wait_until(lambda: platform.health()[1].get("cells_without_certificate") == [guid], "/healthz to name it")
    wait_until(lambda: seen(platform, guid)["tls"] == "no certificate: the cell has not announced itself in etcd",
               lambda: f"show-cells to say so; it says {seen(platform, guid)['tls']}")
    # Without a broker the cell waits, and shows a certificate that nobody can verify.
    platform.stop_broker()
    platform.start_machine(guid)
    true(pem.read_text() != before, "the key that was lost is back")
    platform.start_broker()
    started = time.monotonic()
    wait_until(lambda: seen(platform, guid)["reachable"], "the broker to reach the cell")
    print(f"    reached {time.monotonic() - started:.2f} s after the broker acted")
    wait_until(lambda: pem.read_text().startswith(word_for(platform, guid)["certificate"]),
               "the certificate to be kept")
    wait_until(lambda: platform.health()[1].get("cells_without_certificate") == [],
               "no cell to be without a certificate")


@scenario("another authority signs for running cells, without a restart")
def another_authority(platform):
    files = [platform.directory / f"cells-authority.{end}" for end in ("crt", "key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "400", "-subj", "/CN=operator", "-addext", "basicConstraints=critical,CA:TRUE",
                    "-keyout", files[1], "-out", files[0]], check=True, capture_output=True, timeout=60)
    pids = [platform.cell(guid).pid for guid in platform.guids]
    before = {guid: word_for(platform, guid)["certificate"] for guid in platform.guids}
    def change(config):
        config["authority"] = {"certificate": str(files[0]), "key": str(files[1])}
    with configured(platform, change):
        # The previous authority is trusted too, so that a cell can be reached with its present
        # certificate.
        for guid in platform.guids:
            wait_until(lambda guid=guid: word_for(platform, guid)["certificate"] != before[guid],
                       f"{guid} to get a new certificate")
        platform.wait_cells_seen()
    equal([platform.cell(guid).pid for guid in platform.guids], pids, "the agents' processes")


@scenario("silent sockets and half-open handshakes at a cell's port keep no broker out")
def floods(platform):
    raise_descriptor_limit()
    guid = platform.guids[1]
    host, port = platform.cell_addresses[guid][2].split(":")
    begun = b"\x16\x03\x01\x02\x00"
    for what in (b"", begun, b"\x16\x03\x01\xff\xff" + bytes(200), b"GET / HTTP/1.1\r\n"):
        with contextlib.ExitStack() as held:
            for number in range(SILENT):
                one = held.enter_context(socket.create_connection((host, int(port)), timeout=60))
                with contextlib.suppress(OSError):
                    one.sendall(what)
            platform.restart_broker()  # every connection has to be opened again
            started = time.monotonic()
            wait_until(lambda: seen(platform, guid)["reachable"], "the broker to reach the cell")
            print(f"    beside {SILENT} sockets that say {what[:8]!r}: {time.monotonic() - started:.2f} s")
            equal(platform.cell_request(guid, "GET", "/v2/service_instances")[0], 200, "a request")
    platform.create("in-a-flood", nodes=1, cells=[guid])
    platform.remove("in-a-flood")
