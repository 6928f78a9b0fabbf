#!/usr/bin/python3
"""`make up`: the platform in the foreground until Ctrl-C, with the broker at localhost:3000.

With BROKERS=2 there are two, of which one acts, and HAProxy at localhost:3000 in front of them."""

import os
import signal
import sys
import threading

from layout import MATRIARCH, PLAN, SERVICE
from local_platform import Platform
from processes import tail
from waiting import Failed

PASTE = """
The broker serves at {uri}. Paste into another terminal:

  export BROKER_URI={uri}
  {matriarch} show-cells
  curl -s $BROKER_URI/v2/catalog | jq .

  export id=b1 nodes=2
  curl -XPUT $BROKER_URI/v2/service_instances/$id \\
    -d '{{"service_id": "{service}", "plan_id": "{plan}", "parameters": {{"node-count": '$nodes'}}}}'
  curl -s $BROKER_URI/v2/service_instances/$id/last_operation
  curl -XPUT $BROKER_URI/v2/service_instances/$id/service_bindings/test-binding \\
    -d '{{"service_id": "{service}", "plan_id": "{plan}"}}'
  {matriarch} service-status $id
  curl -s $BROKER_URI/admin/cells | jq .
  curl -XDELETE "$BROKER_URI/v2/service_instances/$id?service_id={service}&plan_id={plan}"

{brokers}etcd: ETCDCTL_ENDPOINTS={etcd}    logs: {directory}/*.log
Ctrl-C stops everything and removes the data.
"""


BROKERS = """Behind that address is HAProxy, and behind it: {addresses}. One of them acts:

  for each in {addresses}; do curl -s http://$each/healthz | jq -c .; done
  kill -9 {pid}     # the first; the other takes over within ten seconds, with SIGTERM at once

"""


def main():
    count = int(os.environ.get("BROKERS") or 1)
    said = "the broker" if count == 1 else f"{count} brokers"
    print(f"Starting etcd, four cells in two availability zones, the router and {said} …", flush=True)
    with Platform(fixed=True, brokers=count, say=print) as platform:
        addresses = " ".join(f"{host}:{port}" for host, port in platform.broker_addresses)
        print(PASTE.format(
            uri=platform.broker_uri_with_credentials, matriarch=os.path.relpath(MATRIARCH),
            brokers="" if count == 1 else BROKERS.format(addresses=addresses, pid=platform.broker.pid),
            service=SERVICE, plan=PLAN, etcd=platform.etcd_uri, directory=platform.directory), flush=True)
        ended = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: ended.set())
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        reported = set()
        # A second: how soon people see that a program has ended by itself.
        while not ended.wait(1):
            for process in platform.processes:
                if not process.alive() and process.name not in reported:
                    reported.add(process.name)
                    print(f"{process.name} ended by itself: {tail(process.log)}", flush=True)
        print("\nStopping …", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"up: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
