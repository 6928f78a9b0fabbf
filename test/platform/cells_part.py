"""The platform's cells, and the nodes on them."""

import contextlib
import os
import pathlib
import signal
import ssl

import psycopg2
import yaml

from asking import http_json
from databases import ask_postgresql
from layout import MATRIARCH
from processes import command_of, descendants_of, is_namespace_init, processes_of, tail
from waiting import Failed, wait_until


class CellsPart:
    """See local_platform.Platform, which it is a part of."""

    def choose_cells(self):
        """guid -> (number, availability zone, agent's address), of the cells in conf/dev.yml."""
        self.cell_addresses = {
            cell["guid"]: (n, cell["availability_zone"],
                           cell["uri"].split("//")[1] if self.fixed else f"127.{self.octet}.{n}.1:8901")
            for n, cell in enumerate(self._example_cells(), 1)}
        self.guids = list(self.cell_addresses)
        self.zones = {guid: zone for guid, (_, zone, _) in self.cell_addresses.items()}

    def _example_cells(self):
        cells = self._example("dev")["cells"]
        if self.cell_count is not None:
            cells = [{"guid": f"cell-z{1 + n % 2}-{1 + n // 2}", "availability_zone": f"z{1 + n % 2}"}
                     for n in range(self.cell_count)]
        return cells

    def _start_held_cells(self):
        from held_cell import HeldCell
        for number in range(1, self.held_count + 1):
            self.held.append(HeldCell(f"held-{number}", f"z{number}", f"127.{self.octet}.{100 + number}.1", self))

    def _add_cells(self):
        self.cells = []
        for guid, (number, zone, address) in self.cell_addresses.items():
            if self.simulated:
                program = pathlib.Path(__file__).with_name("simulated_cell.py")
                command = ["/usr/bin/python3", program, "--guid", guid, "--listen", address,
                           "--etcd", self.etcd_uri, "--zone", zone, "--failures", self.failures]
            else:
                path = self.directory / f"{guid}.yml"
                self._write(path, "cell", self.cell_configuration(number, guid, zone, address))
                command = [MATRIARCH, "cell", "--config", path]
            self.cells.append(self._add_process(guid, command))

    def cell_configuration(self, number, guid, zone, address):
        """conf/cell.yml with this platform's addresses and Patroni's shortest times."""
        config = self._example("cell")
        config["cell"].update(
            guid=guid, availability_zone=zone, bind_host=address.split(":")[0],
            port=int(address.split(":")[1]), data_dir=str(self.directory / guid),
            addresses=f"127.{self.octet}.{number}.0/24",
            least_free_disk="0MB",  # how full this machine's disk is changes no test
            username=self.cell_credentials[0], password=self.cell_credentials[1])
        for unused in ("uri", "host", "first_port", "last_port", "run_as"):
            config["cell"].pop(unused, None)
        config["etcd"]["machines"] = self.etcd_uris
        config.setdefault("patroni", {}).update(ttl=5, loop_wait=1, retry_timeout=2)
        return config

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

    def cell(self, guid):
        return self.cells[self.guids.index(guid)]

    def cell_request(self, guid, method, path, body=None, timeout=40):
        return http_json(method, f"{self.cell_scheme}://{self.cell_addresses[guid][2]}{path}", body,
                         context=self.any_cell, auth=self.cell_credentials, timeout=timeout)

    @property
    def cell_scheme(self):
        return "http" if self.simulated else "https"

    # --- what they run -------------------------------------------------------------------------

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

    def _node_files(self, guid):
        nodes = self.directory / guid / "nodes"
        return sorted(nodes.iterdir()) if nodes.is_dir() else []

    def node_configuration(self, node):
        """The configuration that the cell wrote for a node's Patroni: addresses and passwords, as root
        sees them."""
        return yaml.safe_load((self.node_files(node) / "patroni.yml").read_text())

    def ask_patroni(self, node, method, path, body=None, **other):
        """A request to a node's Patroni; if it speaks TLS it has to show a certificate of the fleet's
        authority."""
        restapi = self.node_configuration(node)["restapi"]
        if "certfile" not in restapi:
            return http_json(method, f"http://{restapi['connect_address']}{path}", body, **other)
        context = ssl.create_default_context(cafile=restapi["cafile"])
        return http_json(method, f"https://{restapi['connect_address']}{path}", body, context=context, **other)

    def connect(self, node, database="postgres", **parameters):
        """A connection to one node's PostgreSQL, as the superuser unless another user is given."""
        config = self.node_configuration(node)["postgresql"]
        host, port = config["connect_address"].rsplit(":", 1)
        superuser = config["authentication"]["superuser"]
        connection = psycopg2.connect(**{
            "host": host, "port": port, "dbname": database, "connect_timeout": 20,
            "user": superuser["username"], "password": superuser["password"], **parameters})
        connection.autocommit = True
        return connection

    def ask_node(self, node, statement, *values, **parameters):
        """The rows of a statement on one node, as the superuser unless another user is given."""
        return ask_postgresql(lambda: self.connect(node, **parameters), statement, *values)

    def roles(self, instance):
        """The roles on the leader, with their rights: (name, may log in, connection limit, superuser)."""
        return self.ask_node(self.leader(instance), "select rolname, rolcanlogin, rolconnlimit, rolsuper "
                             "from pg_roles where rolname !~ '^pg_' order by 1")

    # --- faults --------------------------------------------------------------------------------

    def freeze_node(self, node, number=signal.SIGSTOP):
        """Freezes all processes of a node; SIGCONT resumes them."""
        above = self.node_pid(node)
        for pid in [above, *descendants_of(above)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def frozen(self, *nodes):
        """All processes of these nodes are frozen inside, and resume afterwards unless the cell has
        killed them: it kills a leader that does not answer while another one leads."""
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
        """kill -9 of all processes of a node at once: its namespace's pid 1."""
        os.kill(self.node_pid(node), signal.SIGKILL)

    def kill_machine(self, guid):
        """kill -9 of a cell's agent and of all its nodes, as if the machine had lost its power."""
        self.cell(guid).kill()
        self.cell(guid).running.wait()
        for node in sorted(path.name for path in self._node_files(guid)):
            with contextlib.suppress(Failed, ProcessLookupError):  # it may just be ending
                self.kill_node(node)

    def start_machine(self, guid):
        """Starts a cell's agent, which starts its nodes."""
        self.cell(guid).start()
        self.wait_cell(guid)
