"""Concurrent requests."""

import concurrent.futures

from checks import equal, exactly_as_asked, scenario, true
from waiting import Failed


@scenario("the same provision sent twice at once makes one cluster")
def twice(platform):
    # Frozen cells keep the first request from ending before the second comes.
    with concurrent.futures.ThreadPoolExecutor() as pool, platform.frozen_processes(platform.cells):
        for answer in [pool.submit(platform.provision, "twin", 2) for _ in range(2)]:
            answer.result()
    platform.wait_operation("twin").must_succeed()
    exactly_as_asked(platform, "twin", 2)
    platform.remove("twin")


@scenario("two different updates at once: one is done, the other is refused with a request to wait")
def two_updates(platform):
    platform.create("pair", nodes=1)
    def update(nodes):
        return platform.osb("PATCH", "/v2/service_instances/pair", {
            "service_id": platform.admin("pair")["service_id"], "parameters": {"node-count": nodes}},
            {"accepts_incomplete": "true"})
    with concurrent.futures.ThreadPoolExecutor() as pool, platform.frozen_processes(platform.cells):
        answers = {nodes: pool.submit(update, nodes) for nodes in (2, 3)}
        answers = {nodes: answer.result()[0] for nodes, answer in answers.items()}
    equal(sorted(answers.values()), [202, 422], "the two answers")
    platform.wait_operation("pair").must_succeed()
    exactly_as_asked(platform, "pair", next(nodes for nodes, status in answers.items() if status == 202))
    platform.remove("pair")


@scenario("a removal in the middle of a provision ends both, and nothing is left")
def removed_while_created(platform):
    platform.provision("short", nodes=3)
    # In the middle: at least one node has been started, and the provision has not succeeded yet.
    platform.wait_operation("short", until=lambda _: platform.running_nodes())
    platform.deprovision("short")
    operation = platform.wait_operation("short")
    true(operation.gone, f"the removal ended as {operation.lines}")
    platform.wait_nothing_left()


@scenario("several clusters are created and removed at once, each with a port of its own")
def several(platform):
    names = ["many-1", "many-2", "many-3", "many-4"]
    for name in names:
        platform.provision(name, nodes=1)
    for name in names:
        platform.wait_operation(name).must_succeed()
    ports = {platform.public_port(name) for name in names}
    equal(len(ports), len(names), "the number of different ports")
    for name in names:
        exactly_as_asked(platform, name, 1)
    for name in names:
        platform.deprovision(name)
    for name in names:
        operation = platform.wait_operation(name)
        if not operation.gone:
            raise Failed(f"{name} ended as {operation.lines}")
