"""Two brokers on one etcd, behind HAProxy: one acts, the other follows, and takes over."""

import concurrent.futures
import contextlib
import socket
import threading
import urllib.parse

from checks import equal, exactly_as_asked, json_error, scenario, true
from layout import PLAN, SERVICE
from waiting import wait_until

PLATFORM = {"brokers": 2}

# A tenth of the router's connections are for the brokers, 400 by default.
MORE_THAN_THE_PORT_TAKES = 2000


def other_than(active):
    return 1 - active


def provision_body(nodes):
    return {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": nodes}}


def ask_until_taken(platform, method, path, body=None, params=None, wanted=(200, 202)):
    """Asks as a platform does: again while the answer is 503, or missing. Returns how often it asked
    again."""
    refusals = []

    def taken():
        try:
            answer = platform.osb(method, path, body, {"accepts_incomplete": "true", **(params or {})})
        except OSError as error:
            refusals.append(str(error))
            return False
        if answer[0] in wanted:
            return True
        true(answer[0] == 503, f"{method} {path} was answered {answer[0]}: {answer[2]}")
        true(answer[1].get("Retry-After", "").isdigit(), f"a 503 without Retry-After: {answer[2]}")
        refusals.append(str(answer[2]))
        return False
    wait_until(taken, lambda: f"{method} {path} to be taken; it was answered {refusals[-1:]}")
    return len(refusals)


def provision(platform, name, nodes):
    """Asks through the router, which sees a moment later than others which broker acts."""
    ask_until_taken(platform, "PUT", platform.instance_path(name), provision_body(nodes))


def remove(platform, name):
    ask_until_taken(platform, "DELETE", platform.instance_path(name), params=platform.ids_of(name),
                    wanted=(202, 410))
    platform.wait_operation(name).must_succeed()


@scenario("the standby broker answers reads from its own copy, and writes with 503 and Retry-After")
def standby(platform):
    active = platform.wait_active_broker()
    waiting = other_than(active)
    provision(platform, "seen", 1)
    platform.wait_operation("seen").must_succeed()
    path = platform.instance_path("seen")
    wait_until(lambda: platform.osb("GET", path + "/last_operation", broker=waiting)[2].get("state") == "succeeded",
               "the broker that waits to follow")
    equal(platform.osb("GET", path, broker=waiting)[2], platform.osb("GET", path, broker=active)[2],
          "the instance as both brokers tell it")
    status, headers, listed = platform.osb("GET", "/admin/service_instances", broker=waiting)
    equal((status, [one["instance_id"] for one in listed]), (200, ["seen"]), "the operator's listing")
    true(int(headers["Age"]) < 30, f"the listing's age: {headers['Age']}")
    for method, body, params in (("PUT", provision_body(1), {}), ("PATCH", provision_body(2), {}),
                                 ("DELETE", None, platform.ids_of("seen"))):
        where = platform.instance_path("unseen") if method == "PUT" else path
        answer = platform.osb(method, where, body, {"accepts_incomplete": "true", **params}, broker=waiting)
        equal(answer[0], 503, f"{method} at the broker that waits ({answer[2]})")
        json_error(answer, f"{method} at the broker that waits")
        true(answer[1].get("Retry-After", "").isdigit(), f"{method}: a 503 without Retry-After")
    equal(platform.osb("GET", "/healthz", auth=None, broker=waiting)[0], 200, "/healthz of the broker that waits")
    exactly_as_asked(platform, "seen", 1)
    remove(platform, "seen")


@scenario("a rolling restart under a load of provisions: each is accepted once, and succeeds")
def rolling_restart(platform):
    over = threading.Event()

    def provision_on(worker):
        """Provisions one after the other, as long as brokers are restarted, and then one more."""
        names = []
        while True:
            last = over.is_set()
            names.append(f"rolling-{worker}-{len(names)}")
            provision(platform, names[-1], 1)
            platform.wait_operation(names[-1]).must_succeed()
            if last:
                return names

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        asked = [pool.submit(provision_on, worker) for worker in range(2)]
        try:
            for _ in range(2):
                active = platform.wait_active_broker()
                equal(platform.brokers[active].stop(), 0, "the status that a broker ended with after SIGTERM")
                platform.wait_active_broker(other_than=active)
                platform.brokers[active].start()
                wait_until(lambda: platform.health(active)[0] == 200, "the restarted broker to follow")
        finally:
            over.set()
        names = [name for one in asked for name in one.result()]
    for name in names:
        exactly_as_asked(platform, name, 1)
    equal(len({platform.public_port(name) for name in names}), len(names), "the different ports")
    for name in names:
        ask_until_taken(platform, "DELETE", platform.instance_path(name), params=platform.ids_of(name))
    for name in names:
        platform.wait_operation(name).must_succeed()


@scenario("silent clients of one machine at the brokers' port leave room for others")
def silent_clients(platform):
    where = urllib.parse.urlsplit(platform.broker_uri)
    with contextlib.ExitStack() as held:
        for _ in range(MORE_THAN_THE_PORT_TAKES):
            with contextlib.suppress(ConnectionError):  # the port accepts no more
                held.enter_context(socket.create_connection((where.hostname, where.port), timeout=60,
                                                            source_address=("127.0.0.9", 0)))
        # A router disconnects them after 10 s.
        equal(platform.osb("GET", "/v2/catalog", timeout=9)[0], 200, "the catalog for another machine")


@scenario("a broker that stops answers pending requests, also those that came through a router")
def last_words(platform):
    active = platform.wait_active_broker()
    with concurrent.futures.ThreadPoolExecutor() as pool, platform.frozen_processes([platform.etcd]):
        asked = pool.submit(platform.osb, "PUT", platform.instance_path("unsaid"), provision_body(1),
                            {"accepts_incomplete": "true"})
        seen = [0]
        def is_there():
            """The connections seen three times; a router's check is over before that."""
            seen[0] = seen[0] + 1 if connections_to(platform.broker_addresses[active]) else 0
            return seen[0] >= 3
        wait_until(is_there, "the request to be with the broker")
        # The request waits for etcd, longer than a router takes to see that the broker is stopping.
        equal(platform.brokers[active].stop(), 0, "the status that a broker ended with after SIGTERM")
        answer = asked.result()
    json_error(answer, "what the request was answered")
    equal(answer[0], 503, f"what the request was answered ({answer[2]})")
    true(answer[1].get("Retry-After", "").isdigit(), f"a 503 without Retry-After: {answer[2]}")
    platform.brokers[active].start()
    wait_until(lambda: platform.health(active)[0] == 200, "the restarted broker to follow")


def taken_over(platform, name, strike):
    """A provision of two nodes is hit by `strike(broker)` in its middle, and ended by the other broker."""
    active = platform.wait_active_broker()
    provision(platform, name, 2)
    wait_until(lambda: len(platform.running_nodes()) >= 1, "the first node")
    strike(platform.brokers[active])
    platform.wait_active_broker(other_than=active)
    platform.wait_operation(name).must_succeed()
    exactly_as_asked(platform, name, 2)
    return active


@scenario("the active broker is killed in the middle of a provision: the other finishes it")
def killed(platform):
    active = taken_over(platform, "orphan", lambda broker: (broker.kill(), broker.running.wait()))
    platform.brokers[active].start()
    remove(platform, "orphan")


@scenario("a broker that was frozen and resumes finds that it does not act, and causes no effect")
def thawed(platform):
    active = taken_over(platform, "slept", platform.freeze_process)
    # What the broker was about to do when it froze is now wrong: the instance is to have one node.
    ask_until_taken(platform, "PATCH", platform.instance_path("slept"),
                    {"service_id": SERVICE, "parameters": {"node-count": 1}})
    platform.wait_operation("slept").must_succeed()
    before, record = platform.keys(), platform.record("slept")
    nodes = platform.running_nodes()
    # Requests that reach the broker while it is frozen are answered after it resumes.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        stale = [pool.submit(platform.osb, "PUT", platform.instance_path(f"stale-{number}"), provision_body(1),
                             {"accepts_incomplete": "true"}, broker=active) for number in range(4)]
        late = pool.submit(platform.osb, "PATCH", platform.instance_path("slept"), provision_body(3),
                           {"accepts_incomplete": "true"}, broker=active)
        # The requests have to be there before the broker resumes.
        wait_until(lambda: connections_to(platform.broker_addresses[active]) >= 5, "the requests to arrive")
        platform.freeze_process(platform.brokers[active], go_on=True)
        for one in [*stale, late]:
            answer = one.result()
            equal(answer[0], 503, f"a write at the broker that thawed ({answer[2]})")
    wait_until(lambda: platform.health(active)[1].get("etcd") == "reachable",
               "the broker that thawed to reach etcd")
    equal(platform.wait_active_broker(), other_than(active), "the broker that acts")
    equal(platform.record("slept"), record, "the record")
    equal(platform.running_nodes(), nodes, "the nodes on the cells")
    made = [key for key in platform.keys() if key not in before and "stale" in key]
    equal(made, [], "the keys that the thawed broker made")
    exactly_as_asked(platform, "slept", 1)
    remove(platform, "slept")


def connections_to(where):
    """How many open connections to an address there are."""
    host, port = where
    wanted = "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return sum(1 for line in table if line.split()[2] == wanted and line.split()[3] == "01")
