"""The platform's brokers, and requests to them."""

import contextlib
import re
import time
import urllib.parse

from asking import http_json
from layout import API_VERSION, MATRIARCH, PLAN, SERVICE
from processes import tail
from waiting import PATIENCE, Failed, rest, wait_until


# Stands for the credentials of a path: the operators' below /admin, else the platform's.
ITS_OWN = object()


class Operation:
    """The answers of last_operation, from the first poll to the end of the operation."""

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


class BrokerPart:
    """See local_platform.Platform, which it is a part of."""

    def _add_brokers(self):
        for number, where in enumerate(self.broker_addresses, 1):
            name = "broker" if self.broker_count == 1 else f"broker-{number}"
            path = self.directory / f"{name}.yml"
            self._write(path, "broker", self.broker_configuration(where))
            self.brokers.append(self._add_process(name, [MATRIARCH, "broker", "--config", path]))
        self.broker, self.broker_config = self.brokers[0], self.directory / f"{self.brokers[0].name}.yml"

    def broker_configuration(self, where=None):
        """conf/dev.yml with this platform's addresses; `where` that broker listens: (host, port)."""
        config = self._example("dev")
        host, port = where or self.broker_addresses[0]
        config["broker"].update(port=port, bind_host=host,
                                advertise_host=self.public_host)
        config["etcd"]["machines"] = [self.proxy.uri] if self.proxy else self.etcd_uris
        config["broker"]["strict"] = self.strict
        config["routing"].update(self.public_ports)
        # Simulated cells have no databases, so there is no router to serve them.
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
        """Writes a file that only its owner can read; returns its path."""
        path = self.directory / "secrets" / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text + "\n")
        return str(path)

    @property
    def audit_file(self):
        return self.directory / "audit.jsonl"

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
                # The state may still be "degraded", for instance while there is no router.
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

    # --- the API -------------------------------------------------------------------------------

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
        """No answer for users of the platform may say where its parts are, whatever a test is about."""
        said = answer[2].get("description", "") if isinstance(answer[2], dict) else ""
        if re.search(r"\d+\.\d+\.\d+\.\d+|://|localhost", said):
            raise Failed(f"{what} answers {answer[0]} and names an address: {said}")

    def _expect(self, expect, method, path, body=None, params=None):
        status, _, answer = self.osb(method, path, body, params)
        if status != expect:
            raise Failed(f"{method} {path} was answered {status} instead of {expect}: {answer}")
        return answer

    @staticmethod
    def instance_path(instance):
        return "/v2/service_instances/" + urllib.parse.quote(instance, safe="")

    def binding_path(self, instance, binding):
        return f"{self.instance_path(instance)}/service_bindings/{urllib.parse.quote(binding, safe='')}"

    def ids_of(self, instance):
        return {"service_id": SERVICE, "plan_id": self.plan_of.get(instance, PLAN)}

    def provision(self, instance, nodes=None, cells=None, expect=202, plan=PLAN):
        """Asks for a cluster, asynchronously. Returns the answer's JSON."""
        parameters = {}
        if nodes is not None:
            parameters["node-count"] = nodes
        if cells is not None:
            parameters["cells"] = cells
        elif self.held:
            parameters["cells"] = self.guids  # not on the simulated ones
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

    def deprovision(self, instance, expect=202):
        return self._expect(expect, "DELETE", self.instance_path(instance), None, {
            **self.ids_of(instance), "accepts_incomplete": "true"})

    def bind(self, instance, binding, expect=201, **body):
        """Binds; returns the credentials. Further fields of the request: app_guid="…", parameters={…}."""
        return self.bound(instance, binding, expect, **body).get("credentials")

    def bound(self, instance, binding, expect=201, **body):
        """Binds; returns the whole answer."""
        return self._expect(expect, "PUT", self.binding_path(instance, binding),
                            {**self.ids_of(instance), **body})

    def unbind(self, instance, binding, expect=200):
        return self._expect(expect, "DELETE", self.binding_path(instance, binding), None,
                            self.ids_of(instance))

    def last_operation(self, instance, binding=None):
        """(status, JSON) of last_operation, of an instance or of a binding."""
        path = self.instance_path(instance) if binding is None else self.binding_path(instance, binding)
        status, _, answer = self.osb("GET", path + "/last_operation")
        return status, answer

    def wait_operation(self, instance, heard=None, until=None, binding=None):
        """Polls last_operation until the operation ends, or `until(operation)` is true. `heard` gets each
        new line."""
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
        """Makes a cluster, from PUT to `succeeded`."""
        self.provision(instance, nodes, cells, plan=plan)
        return self.wait_operation(instance).must_succeed()

    def remove(self, instance):
        """Removes a cluster, from DELETE to 410."""
        self.deprovision(instance)
        operation = self.wait_operation(instance).must_succeed()
        return operation

    def rebuild(self, instance):
        """Asks for a new cluster in place of the instance's; the id of the rebuild."""
        return self._expect(202, "POST", f"/admin/service_instances/{instance}/rebuild")["rebuild"]

    def wait_rebuild(self, instance, rebuild):
        """The end of that rebuild, as an operator sees it."""
        def ended():
            task = self.admin(instance).get("rebuild", {})
            return task if task.get("id") == rebuild and task["state"] != "in progress" else None
        return wait_until(ended, "the end of the rebuild")

    def admin(self, instance):
        """The cluster's record as the admin API shows it."""
        return self._expect(200, "GET", "/admin/service_instances/" + urllib.parse.quote(instance, safe=""))

    def nodes_of(self, instance):
        """node_id -> guid of its cell, as recorded."""
        return {node["node_id"]: node["backend_id"] for node in self.admin(instance)["nodes"]}

    # --- faults --------------------------------------------------------------------------------

    def health(self, broker=None, params=None):
        """The answer of /healthz: (status, JSON); (0, {}) if there is no answer."""
        try:
            status, _, answer = self.osb("GET", "/healthz", None, params, auth=None, timeout=5, broker=broker)
            return status, answer if isinstance(answer, dict) else {}
        except OSError:
            return 0, {}

    def active_broker(self):
        """The number, from 0, of the broker that reports that it acts; None while none does."""
        for number in range(len(self.brokers)):
            if self.health(number, {"active": ""})[0] == 200:
                return number
        return None

    def wait_active_broker(self, other_than=None):
        """Waits until a broker acts, not the one of number `other_than`. Returns its number."""
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
