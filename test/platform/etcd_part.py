"""The platform's etcd: its members, its users, and its keys."""

import base64
import contextlib
import json

from asking import encoded, http_json, password_for
from processes import tail
from slow_proxy import SlowProxy
from waiting import Failed, wait_until


class EtcdPart:
    """See local_platform.Platform, which it is a part of."""

    def _add_etcds(self):
        peers = [uri.replace("https", "http").replace(":2379", ":2380") for uri in self.etcd_uris]
        names = ["etcd", *(f"etcd-{number}" for number in range(2, self.etcd_count + 1))]
        for name, uri, peer in zip(names, self.etcd_uris, peers):
            self.etcds.append(self._add_process(name, [
                "etcd", "--name", name, "--data-dir", self.directory / name,
                "--listen-client-urls", uri, "--advertise-client-urls", uri,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", ",".join(f"{other}={at}" for other, at in zip(names, peers)),
                # The cheapest setting: the cost of each login.
                "--bcrypt-cost", "4",
                "--logger", "zap", "--log-level", "warn",
                *(["--quota-backend-bytes", self.etcd_quota] if self.etcd_quota else []),
                *(["--cert-file", self.certificate, "--key-file", self.certificate_key] if self.etcd_tls else [])]))
        self.etcd = self.etcds[0]
        if self.etcd_slow:
            self.proxy = SlowProxy((f"127.{self.octet}.0.3", 2379), (self.address, 2379))

    def _etcd_healthy(self):
        if not self.etcd.alive():
            raise Failed(f"etcd ended: {tail(self.etcd.log)}")
        with contextlib.suppress(OSError):
            return http_json("GET", self.etcd_uri + "/health", timeout=20, context=self.tls_context)[0] == 200
        return False

    # --- its users -----------------------------------------------------------------------------

    @staticmethod
    def etcd_password(user):
        return password_for("etcd's " + user)

    def _turn_on_etcd_users(self):
        """The users as an operator would make them: each program has only the rights that it needs."""
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
        # Each cell may write only its own key, for whoever may write the key gets a certificate.
        for guid in self.guids:
            permit_one(guid, "READWRITE", f"/cells/{guid}")
            permit_one(guid, "READ", f"/cells/{guid}/certificate")
            permit_one(guid, "READ", "/routing/fleet")
            permit(guid, "READWRITE", "/postgresql-brokerpatroni/")
        permit_range("router", "READ", "/routers/", "/service0")
        permit("router", "READWRITE", "/routers/")
        # The broker makes a user for each scope, for which etcd requires the role root.
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
        """A request to etcd that must succeed; as root if there are users."""
        def ask():
            return self._post_to_etcd(path, body, {"Authorization": self.etcd_token} if self.etcd_token else {})
        status, answer = ask()
        if status in (400, 401) and self.etcd_auth:  # no token yet, or an expired one
            self.etcd_token = self._post_to_etcd("/v3/auth/authenticate", {
                "name": "root", "password": self.etcd_password("root")})[1]["token"]
            status, answer = ask()
        if status != 200:
            raise Failed(f"etcd answered {status} to {path}: {answer}")
        return answer

    # --- its keys ------------------------------------------------------------------------------

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
        """The leader's node id, by Patroni's key; None while there is no leader."""
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

    @staticmethod
    def rests(value):
        """Whether a port's key says that no instance holds the port any more."""
        with contextlib.suppress(ValueError):
            return "resting_since" in json.loads(value)
        return False
