"""kill -9 of the broker in the middle of everything: it resumes and finishes, exactly as asked."""

from checks import equal, exactly_as_asked, recorded, scenario, true
from waiting import wait_until


def killed_in_the_middle(platform, instance, reached):
    """Kills the broker as soon as `reached()` is true, starts it again, waits for the operation's end.

    The moment is looked for in etcd and on the cells, not in the broker, which may be busy.
    """
    wait_until(reached, "the middle of the operation")
    platform.stop_broker(kill9=True)
    # If few steps are left, the operation may end between the look and the kill.
    record = platform.record(instance)
    print(f"       killed while it was {record['operation']['state'] if record else 'over'}")
    platform.start_broker()
    return platform.wait_operation(instance).must_succeed()


@scenario("the broker is killed in the middle of a provision")
def provision(platform):
    platform.provision("phoenix", nodes=3)
    killed_in_the_middle(platform, "phoenix", lambda: len(platform.running_nodes()) >= 1)
    exactly_as_asked(platform, "phoenix", 3)
    platform.remove("phoenix")


@scenario("the broker is killed right after it has accepted a provision")
def provision_at_once(platform):
    platform.provision("phoenix", nodes=2)
    platform.restart_broker(kill9=True)
    platform.wait_operation("phoenix").must_succeed()
    exactly_as_asked(platform, "phoenix", 2)
    platform.remove("phoenix")


@scenario("the broker is killed in the middle of an update")
def update(platform):
    platform.create("phoenix", nodes=1)
    platform.update("phoenix", node_count=3)
    killed_in_the_middle(platform, "phoenix", lambda: len(platform.running_nodes()) >= 2)
    exactly_as_asked(platform, "phoenix", 3)
    platform.remove("phoenix")


@scenario("the broker is killed in the middle of a move, as the new nodes come up")
def move(platform):
    platform.create("phoenix", nodes=2)
    cells = [guid for guid in platform.guids if guid not in platform.nodes_of("phoenix").values()]
    platform.update("phoenix", cells=cells)
    killed_in_the_middle(platform, "phoenix", lambda: len(platform.running_nodes()) >= 3)
    exactly_as_asked(platform, "phoenix", 2, cells)
    platform.remove("phoenix")


@scenario("the broker is killed in the middle of a move, as the leader changes")
def switchover(platform):
    platform.create("phoenix", nodes=2)
    cells = [guid for guid in platform.guids if guid not in platform.nodes_of("phoenix").values()]
    old = platform.leader("phoenix")
    platform.update("phoenix", cells=cells)
    killed_in_the_middle(platform, "phoenix", lambda: platform.leader("phoenix") != old)
    exactly_as_asked(platform, "phoenix", 2, cells)
    platform.remove("phoenix")


@scenario("the broker is killed in the middle of a removal")
def deprovision(platform):
    platform.create("phoenix", nodes=3)
    platform.deprovision("phoenix")
    killed_in_the_middle(platform, "phoenix", lambda: len(platform.running_nodes()) < 3)
    platform.wait_nothing_left()
    equal(platform.last_operation("phoenix")[0], 410, "last_operation after the end")


@scenario("a broker that is stopped and started knows its instances, bindings and operations")
def stop_and_start(platform):
    platform.create("kept", nodes=2)
    credentials = platform.bind("kept", "app")
    before, last = recorded(platform), platform.last_operation("kept")
    platform.restart_broker()
    equal(platform.last_operation("kept"), last, "last_operation")
    equal(platform.bind("kept", "app", expect=200), credentials, "the binding")
    true(before == recorded(platform), "the restart changed something in etcd")
    exactly_as_asked(platform, "kept", 2)
    platform.provision("going", nodes=1)
    platform.restart_broker()
    platform.wait_operation("going").must_succeed()
    exactly_as_asked(platform, "going", 1)
    platform.unbind("kept", "app")
    for name in ("kept", "going"):
        platform.remove(name)
