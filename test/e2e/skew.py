"""Two releases take turns: this release keeps what the later one has written, or leaves it alone if it must
not read it.

The later release is `matriarch-next` (next_release.cpp): it writes format 2, with members of its own at every depth.
"""

import json

from checks import equal, rows_of, scenario, true
from layout import BUILD, MATRIARCH, PLAN, SERVICE
from waiting import wait_until

NEXT = BUILD / "test" / "e2e" / "matriarch-next"
MARK = {"of_the_next_release": [1, "two", None]}
FORMAT_KEY = "/matriarch/format"


def has_mark(part):
    return MARK.items() <= part.items()


def release(process, program):
    """Starts a stopped broker or agent of one release or the other."""
    process.command[0] = str(program)
    process.start()


def broker_of(platform, program):
    platform.stop_broker()
    release(platform.broker, program)
    platform.wait_broker()
    platform.wait_broker_acts()


def agents_of(platform, program):
    for guid in platform.guids:
        platform.cell(guid).stop()
        release(platform.cell(guid), program)
        platform.wait_cell(guid)


def binding_of(platform):
    [binding] = platform.keys("/service/skewed/bindings/").values()
    return json.loads(binding)


def file_of(platform, node):
    return json.loads((platform.node_files(node) / "node.json").read_text())


def must_have_marks(platform, nodes):
    """Everything but the operation that the next release's broker wrote last is still there; `nodes`:
    those it knew."""
    record = platform.record("skewed")
    for name, part in (("record", record), ("desired", record["desired"]), ("in force", record["in_force"]),
                       ("settings", record["desired"]["settings"]), ("superuser", record["superuser_credentials"]),
                       ("binding", binding_of(platform)), ("role", binding_of(platform)["role"])):
        true(has_mark(part), f"{name} lost what a later release wrote: {sorted(part)}")
    for node in record["nodes"]:
        equal(has_mark(node), node["node_id"] in nodes, f"whether node {node['node_id']} has the mark")


def formats_of(*values):
    return {(value["format"], value["min_reader"]) for value in values}


def restart_nodes(platform, count):
    """Makes the agents write the processes of their nodes' next start into the records."""
    for node in platform.nodes_of("skewed"):
        before = file_of(platform, node)["process"]
        platform.kill_node(node)
        wait_until(lambda: file_of(platform, node).get("process") not in (None, before), "the node to be started")
        platform.wait_all_running("skewed", count)


@scenario("a broker and agents of the next release and of this one work together, and nothing is lost")
def turns(platform):
    broker_of(platform, NEXT)  # with agents of this release
    platform.create("skewed", nodes=2)
    uri = platform.bind("skewed", "b")["uri"]
    rows_of(uri, "create table kept (n int)")
    first = set(platform.nodes_of("skewed"))
    must_have_marks(platform, first)
    true(has_mark(platform.record("skewed")["operation"]), "the next release does not mark its operations")
    equal(formats_of(platform.record("skewed"), binding_of(platform)), {(3, 1)}, "what the next release writes")
    equal(formats_of(*[file_of(platform, node) for node in first]), {(2, 1)}, "what this release's agents write")

    agents_of(platform, NEXT)
    broker_of(platform, MATRIARCH)
    platform.update("skewed", **{"node-count": 3})
    platform.wait_operation("skewed").must_succeed()
    must_have_marks(platform, first)
    true(not has_mark(platform.record("skewed")["operation"]), "the mark is one operation's, and another one has it")
    equal(formats_of(platform.record("skewed")), {(2, 1)}, "what this release's broker writes")
    equal(json.loads(platform.keys(FORMAT_KEY)[FORMAT_KEY]), {"format": 3, "min_reader": 1}, "the fleet's format")
    [last] = set(platform.nodes_of("skewed")) - first
    true(has_mark(file_of(platform, last)), "the next release's agent does not mark its files")
    restart_nodes(platform, 3)
    for node in platform.nodes_of("skewed"):
        true(has_mark(file_of(platform, node)["process"]), "the next release's agent does not mark its processes")

    agents_of(platform, MATRIARCH)
    restart_nodes(platform, 3)
    for node in platform.nodes_of("skewed"):
        kept = file_of(platform, node)
        equal(formats_of(kept), {(2, 1)}, "what this release's agents write")
        true(has_mark(kept), f"the file of node {node} lost what a later release wrote")
        true(not has_mark(kept["process"]), "the mark is one process's, and another one has it")

    broker_of(platform, NEXT)
    platform.update("skewed", **{"node-count": 2})
    platform.wait_operation("skewed").must_succeed()
    equal(rows_of(uri, "select count(*) from kept"), [(0,)], "what the credentials read")
    broker_of(platform, MATRIARCH)
    platform.unbind("skewed", "b")


@scenario("a broker below the fleet's min_reader serves reads, says why, and never acts")
def too_old(platform):
    if not platform.record("skewed"):
        platform.create("skewed")
    platform.stop_broker()
    platform.put_key(FORMAT_KEY, json.dumps({"format": 3, "min_reader": 3}))
    try:
        must_not_act(platform)
    finally:
        platform.put_key(FORMAT_KEY, json.dumps({"format": 3, "min_reader": 1}))
    platform.wait_broker_acts()
    equal(json.loads(platform.keys(FORMAT_KEY)[FORMAT_KEY])["format"], 3, "the fleet's format")


def must_not_act(platform):
    platform.broker.start()
    platform.wait_broker()
    wait_until(lambda: "does not become the active one" in platform.broker.log.read_text(), "the broker to say why")
    status, _, answer = platform.osb("PUT", platform.instance_path("refused"), {
        "service_id": SERVICE, "plan_id": PLAN, "organization_guid": "o", "space_guid": "s"},
        {"accepts_incomplete": "true"})
    equal(status, 503, f"a provision ({answer})")
    wait_until(lambda: platform.osb("GET", platform.instance_path("skewed"))[0] == 200, "a read to be served")
    true("/matriarch/active" not in platform.keys("/matriarch/"), "it took the right to act")


def finish(platform):
    for process in [platform.broker, *platform.cells]:
        if process.command[0] == str(NEXT):
            process.stop()
            release(process, MATRIARCH)
    platform.wait_broker()
    platform.wait_broker_acts()
    if platform.record("skewed"):
        platform.remove("skewed")
    platform.erase_key(FORMAT_KEY)
