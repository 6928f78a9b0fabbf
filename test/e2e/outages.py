"""Parts that cannot be reached: said once, retried, served again as soon as they are back."""

import signal

from checks import equal, exactly_as_asked, json_error, scenario, true
from local_platform import PLAN, SERVICE, wait_until


def provision_body(nodes):
    return {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": nodes}}


@scenario("without etcd a provision is answered 503, and works as soon as etcd is back")
def etcd_frozen(platform):
    platform.create("before", nodes=1)
    platform.etcd.kill(signal.SIGSTOP)
    try:
        path = "/v2/service_instances/"
        answer = platform.osb("PUT", path + "frozen", provision_body(1), {"accepts_incomplete": "true"})
        equal(answer[0], 503, f"a provision without etcd ({answer[2]})")
        json_error(answer, "a provision without etcd")
        answer = platform.osb("GET", path + "unknown/last_operation")
        equal(answer[0], 503, f"whether an unknown id exists, without etcd ({answer[2]})")
        equal(platform.last_operation("before")[1]["state"], "succeeded", "a read without etcd")
        wait_until(lambda: platform.health()[1].get("etcd") == "unreachable", 30, "/healthz to tell")
    finally:
        platform.etcd.kill(signal.SIGCONT)
    platform.wait_broker_acts()
    platform.create("frozen", nodes=1)
    exactly_as_asked(platform, "frozen", 1)
    exactly_as_asked(platform, "before", 1)
    for name in ("before", "frozen"):
        platform.remove(name)


@scenario("a broker that starts while etcd is away says so and serves as soon as it is back")
def start_without_etcd(platform):
    platform.stop_broker()
    platform.etcd.kill(signal.SIGSTOP)
    try:
        platform.broker.start()
        wait_until(lambda: platform.health()[1].get("etcd") == "unreachable", 30,
                   "/healthz to tell that etcd is away")
    finally:
        platform.etcd.kill(signal.SIGCONT)
    platform.wait_broker_acts()
    platform.create("after", nodes=1)
    platform.remove("after")


@scenario("a cell that is away is left out, named in /healthz, and used again when it is back")
def cell_away(platform):
    guid = platform.guids[0]
    away = platform.cell(guid)
    equal(away.stop(), 0, f"the status that {guid} ended with after SIGTERM")
    wait_until(lambda: platform.health()[1].get("unreachable_cells") == [guid], 30, "/healthz to name the cell")
    platform.stop_broker()
    platform.broker.start()
    platform.wait_broker()
    # A broker that has just started answers 503 until it has read etcd and may act.
    wait_until(lambda: platform.osb("PUT", "/v2/service_instances/fewer", provision_body(3),
                                    {"accepts_incomplete": "true"})[0] in (200, 202),
               30, "the broker to take a provision while a cell is away")
    platform.wait_operation("fewer").must_succeed()
    true(guid not in platform.nodes_of("fewer").values(), "a node was placed on the cell that is away")
    away.start()
    platform.wait_cell(guid)
    platform.wait_cells_seen(30)
    platform.update("fewer", node_count=4)
    platform.wait_operation("fewer").must_succeed()
    exactly_as_asked(platform, "fewer", 4)
    platform.remove("fewer")


@scenario("an agent that is killed and started again finds its nodes running and leaves them alone")
def agent_restarts(platform):
    platform.create("steady", nodes=2)
    leader = platform.leader("steady")
    guid = platform.nodes_of("steady")[leader]
    pid = platform.node_pid(leader)
    platform.cell(guid).kill()
    platform.cell(guid).running.wait()
    platform.cell(guid).start()
    platform.wait_cell(guid)
    wait_until(lambda: platform.running_nodes().get(leader), 20, "the agent to know its node again")
    equal(platform.node_pid(leader), pid, "the pid of the leader's node")
    exactly_as_asked(platform, "steady", 2)
    equal(platform.leader("steady"), leader, "the leader")
    platform.remove("steady")
