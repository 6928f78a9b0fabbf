"""Parts that cannot be reached: reported once, retried, used again as soon as they are back."""

import signal
import time

from checks import equal, exactly_as_asked, json_error, scenario, true
from databases import Writer
from layout import PLAN, SERVICE
from waiting import wait_until
from witnesses import Caller, Reader


def provision_body(nodes):
    return {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
            "parameters": {"node-count": nodes}}


# Long enough for every lease to end, and for a leader without failsafe_mode to step down.
FREEZE = 12


@scenario("etcd is frozen: databases and reads go on, changes are refused at once, and all recovers by itself")
def etcd_frozen(platform):
    platform.create("before", nodes=2)
    uri = platform.bind("before", "app")["uri"]
    leader = platform.leader("before")
    with Writer(uri) as writer, Reader(platform, "before") as reader:
        writer.wait_for_writes(20)
        platform.etcd.kill(signal.SIGSTOP)
        frozen_at = time.monotonic()
        try:
            with Caller(platform, "during") as caller:
                wait_until(lambda: platform.health()[1].get("etcd") == "unreachable", "/healthz to tell")
                equal(platform.osb("GET", "/healthz", auth=None)[0], 200,
                      "the status of /healthz while there is a copy to read from")
                answer = platform.osb("GET", platform.instance_path("unknown") + "/last_operation")
                equal(answer[0], 503, f"whether an unknown id exists, without etcd ({answer[2]})")
                wait_until(lambda: platform.health()[1].get("etcd_age", 0) >= FREEZE, "etcd's age")
                age = int(platform.osb("GET", "/admin/service_instances")[1]["Age"])
                true(age >= FREEZE, f"the age of an operator's answer: {age}")
                known_at = time.monotonic()
                refused = len(caller.refusals())
                platform.etcd.kill(signal.SIGCONT)
                caller.wait_taken()
        finally:
            platform.etcd.kill(signal.SIGCONT)
        platform.wait_operation("during").must_succeed()
        writer.wait_for_writes(20)
    true(refused > 0, "nothing was refused")
    caller.must_be_told_to_return()
    equal(reader.failures, [], "reads that failed")
    equal(writer.missing(), [], "acknowledged rows that are missing")
    print(f"       frozen {known_at - frozen_at:.0f} s: longest gap of the application {writer.longest_gap():.2f} s, "
          f"refused first after {caller.refusals()[0]:.1f} s, last after {caller.refusals(known_at)[-1]:.3f} s")
    platform.wait_broker_acts()
    exactly_as_asked(platform, "during", 1)
    exactly_as_asked(platform, "before", 2)
    equal(platform.leader("before"), leader, "the leader after the freeze")
    platform.unbind("before", "app")
    for name in ("before", "during"):
        platform.remove(name)


@scenario("etcd is out of space: it is reported, changes are refused, and accepted again once there is space")
def etcd_out_of_space(platform):
    platform.create("before", nodes=1)
    member = platform.etcd_call("/v3/cluster/member/list", {})["members"][0]["ID"]
    alarm = {"memberID": member, "alarm": "NOSPACE"}
    platform.etcd_call("/v3/maintenance/alarm", {**alarm, "action": "ACTIVATE"})
    try:
        answer = platform.osb("PUT", platform.instance_path("during"), provision_body(1),
                              {"accepts_incomplete": "true"})
        equal(answer[0], 503, f"a provision ({answer[2]})")
        json_error(answer, "a provision while etcd takes nothing")
        true("space" in answer[2]["description"], f"the reason is not told: {answer[2]}")
        wait_until(lambda: platform.health()[1].get("etcd") == "refuses writes", "/healthz to tell")
        equal(platform.osb("GET", "/healthz", auth=None)[0], 200, "the status of /healthz")
        equal(platform.last_operation("before")[1]["state"], "succeeded", "a read")
    finally:
        platform.etcd_call("/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"})
    platform.wait_broker_acts()
    platform.create("during", nodes=1)
    for name in ("before", "during"):
        exactly_as_asked(platform, name, 1)
        platform.remove(name)


@scenario("a broker that starts while etcd is away says so and serves as soon as it is back")
def start_without_etcd(platform):
    platform.stop_broker()
    platform.etcd.kill(signal.SIGSTOP)
    try:
        platform.broker.start()
        wait_until(lambda: platform.health()[1].get("etcd") == "unreachable",
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
    wait_until(lambda: platform.health()[1].get("unreachable_cells") == [guid], "/healthz to name the cell")
    platform.stop_broker()
    platform.broker.start()
    platform.wait_broker()
    # A broker that has just started answers 503 until it has read etcd and may act.
    wait_until(lambda: platform.osb("PUT", "/v2/service_instances/fewer", provision_body(3),
                                    {"accepts_incomplete": "true"})[0] in (200, 202),
               "the broker to take a provision while a cell is away")
    platform.wait_operation("fewer").must_succeed()
    true(guid not in platform.nodes_of("fewer").values(), "a node was placed on the cell that is away")
    away.start()
    platform.wait_cell(guid)
    platform.wait_cells_seen()
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
    wait_until(lambda: platform.running_nodes().get(leader), "the agent to know its node again")
    equal(platform.node_pid(leader), pid, "the pid of the leader's node")
    exactly_as_asked(platform, "steady", 2)
    equal(platform.leader("steady"), leader, "the leader")
    platform.remove("steady")
