"""The platform's router, and HAProxy behind it."""

import contextlib

from asking import http_json
from layout import API_VERSION, MATRIARCH
from processes import tail
from waiting import Failed


class RouterPart:
    """See local_platform.Platform, which it is a part of."""

    def _add_router(self):
        path = self.directory / "router.yml"
        self._write(path, "router", self.router_configuration())
        self.router = None if self.simulated else self._add_process("router", [MATRIARCH, "router", "--config", path])

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

    def _is_routers_haproxy(self, command):
        """Finds HAProxy even if its router was killed and another one has adopted it."""
        return "haproxy" in "".join(command[:1]) and f"{self.directory}/router/" in " ".join(command)
