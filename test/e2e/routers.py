"""Operations succeed only when their result is served: the broker waits for routers. One router is played
by hand here: its key in etcd is all that the broker sees."""

import contextlib
import json
import signal

from checks import equal, exactly_as_asked, rows_of, scenario, true
from operators import matriarch
from router_killed import lets_in
from waiting import wait_until

ALL_THERE_WILL_BE = 2**53  # a revision above all of a test's


def say(platform, serves=ALL_THERE_WILL_BE, unbound=(), router="by-hand", unserved=()):
    platform.put_key(f"/routers/{router}", json.dumps(
        {"id": router, "host": "hand-host", "serves": str(serves), "unbound": list(unbound),
         "unserved": [{"instance": name, "why": "hand-host knows no address of it"} for name in unserved]}))


def gone(platform, router="by-hand"):
    platform.erase_key(f"/routers/{router}")


@contextlib.contextmanager
def by_hand(platform, **said):
    """A router with that report, whose lease ends with the block."""
    say(platform, **said)
    try:
        yield
    finally:
        gone(platform)


def health(platform):
    return platform.osb("GET", "/healthz", auth=None)[2]


def routers(platform):
    return {one["id"]: one for one in platform.osb("GET", "/admin/routers")[2]}


@scenario("a provision waits for a router that is behind, says so, and succeeds when it serves")
def provision_waits(platform):
    with by_hand(platform, serves=1):
        wait_until(lambda: "by-hand" in routers(platform), "the broker to know the router")
        platform.provision("late", nodes=1)
        seen = platform.wait_operation("late", until=lambda one: "not serve port" in one.lines[-1][1])
        equal(seen.lines[-1][0], "in progress", "the operation")
        true("by-hand" not in str(seen.lines) and "hand-host" not in str(seen.lines),
             f"last_operation names the router: {seen.lines}")
        wait_until(lambda: routers(platform)["by-hand"]["holds_up"] == 1, "one operation to be seen to wait for it")
        wait_until(lambda: "1 of" in health(platform)["routing"],
                   lambda: f"healthz to tell of it: {health(platform)['routing']}")
        status, out, err = matriarch(platform, "show-routers")
        equal(status, 0, err)
        true("by-hand" in out and "hand-host" in out and "HOLDS UP 1" in out, out)
        status, out, _ = matriarch(platform, "service-status", "late")
        true(status == 0 and "router by-hand serves revision 1" in out, out)
        say(platform)
        platform.wait_operation("late").must_succeed()
    exactly_as_asked(platform, "late", 1)
    platform.remove("late")


@scenario("an instance that one router cannot serve waits for it, and no other instance does")
def unserved(platform):
    with by_hand(platform, unserved=["apart"]):
        wait_until(lambda: "by-hand" in routers(platform), "the broker to know the router")
        platform.provision("apart", nodes=1)
        platform.create("beside", nodes=1)
        seen = platform.wait_operation("apart", until=lambda one: "does not reach" in one.lines[-1][1])
        equal(seen.lines[-1][0], "in progress", "the operation")
        true("by-hand" not in str(seen.lines) and "hand-host" not in str(seen.lines),
             f"last_operation names the router: {seen.lines}")
        wait_until(lambda: health(platform)["status"] == "degraded", "healthz to tell of it")
        status, out, err = matriarch(platform, "show-routers")
        equal(status, 0, err)
        true("does not serve instance apart: hand-host knows no address of it" in out, out)
        say(platform)
        platform.wait_operation("apart").must_succeed()
    platform.remove("apart")
    platform.remove("beside")


@scenario("the wait for a router ends with its lease")
def lease_ends(platform):
    with by_hand(platform, serves=1):
        platform.provision("left", nodes=1)
        platform.wait_operation("left", until=lambda one: "not serve port" in one.lines[-1][1])
    platform.wait_operation("left").must_succeed()
    platform.remove("left")


@scenario("a port that a router cannot open is replaced before anybody is told of it")
def port_exchanged(platform):
    with by_hand(platform, serves=1):
        platform.provision("moved", nodes=1)
        platform.wait_operation("moved", until=lambda one: "not serve port" in one.lines[-1][1])
        port = platform.public_port("moved")
        say(platform, unbound=[port])
        platform.wait_operation("moved").must_succeed()
        true(platform.public_port("moved") != port, "the port is the one that cannot be opened")
        credentials = platform.bind("moved", "app")
        equal(credentials["port"], platform.public_port("moved"), "the port in the credentials")
        wait_until(lambda: lets_in(credentials["uri"]), "the new port to let one in")
        # From now on a client knows the port.
        say(platform, unbound=[credentials["port"]])
        wait_until(lambda: health(platform)["lost_ports"] == [credentials["port"]], "healthz to tell of it")
        equal(health(platform)["status"], "degraded", "healthz's status")
        wait_until(lambda: "is not open at router by-hand" in matriarch(platform, "show-routers")[1],
                   "show-routers to tell of the lost port")
        platform.unbind("moved", "app")
    platform.remove("moved")


@scenario("a bind waits for a router that is behind; a platform that can poll is told so")
def bind_waits(platform):
    with by_hand(platform):
        platform.create("bound", nodes=1)
        say(platform, serves=1)
        wait_until(lambda: routers(platform)["by-hand"]["serves"] == "1", "the broker to hear of it")
        status, _, answer = platform.osb("PUT", platform.binding_path("bound", "app"),
                                         platform.ids_of("bound"), {"accepts_incomplete": "true"})
        equal(status, 202, f"the bind: {answer}")
        seen = platform.wait_operation("bound", binding="app", until=lambda one: "not serve port" in one.description)
        equal(seen.state, "in progress", f"the binding's last_operation: {seen.lines}")
        say(platform)
        platform.wait_operation("bound", binding="app").must_succeed()
        # An unbind waits for no router.
        say(platform, serves=1)
        platform.unbind("bound", "app")
        say(platform)
    platform.remove("bound")


@scenario("credentials work with the first connection after the answer to a bind")
def first_connection(platform):
    for number in range(3):
        name = f"first-{number}"
        platform.create(name, nodes=1)
        for binding, parameters in (("writer", {}), ("reader", {"parameters": {"read-only": True}})):
            credentials = platform.bind(name, binding, **parameters)
            equal(rows_of(credentials["uri"], "select 1"), [(1,)], f"the first connection of {name}'s {binding}")
            platform.unbind(name, binding)
        platform.remove(name)


@scenario("while the only router is away no operation that changes a route succeeds")
def router_away(platform):
    platform.create("before", nodes=1)
    platform.router.kill(signal.SIGSTOP)
    wait_until(lambda: not platform.keys("/routers/"), "the frozen router's lease to end")
    wait_until(lambda: health(platform)["status"] == "degraded", "healthz to tell of it")
    wait_until(lambda: "no router is there" in health(platform)["routing"],
               lambda: f"healthz to say which: {health(platform)['routing']}")
    platform.provision("meanwhile", nodes=1)
    seen = platform.wait_operation("meanwhile", until=lambda one: "no router is there" in one.lines[-1][1])
    equal(seen.lines[-1][0], "in progress", "the operation")
    status, _, answer = platform.osb("PUT", platform.binding_path("before", "app"), platform.ids_of("before"),
                                     {"accepts_incomplete": "true"})
    equal(status, 202, f"a bind: {answer}")
    platform.router.kill(signal.SIGCONT)
    platform.wait_operation("meanwhile").must_succeed()
    platform.wait_operation("before", binding="app").must_succeed()
    credentials = platform.osb("GET", platform.binding_path("before", "app"))[2]["credentials"]
    equal(rows_of(credentials["uri"], "select 1"), [(1,)], "the first connection")
    platform.unbind("before", "app")
    for name in ("before", "meanwhile"):
        platform.remove(name)
