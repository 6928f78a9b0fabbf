"""The life of one cluster, as Cloud Controller leads it."""

import contextlib

import psycopg2

from checks import equal, exactly_as_asked, nothing_changes, scenario, true
from layout import PLAN, SERVICE
from waiting import wait_until


@scenario("a cluster is created, used, grown, shrunk and removed")
def life(platform):
    with platform.frozen_processes(platform.cells):  # so that the operation does not end before it is looked at
        answer = platform.provision("life", nodes=2)
        true(isinstance(answer["operation"], str) and answer["operation"], f"no operation in {answer}")
        status, last = platform.last_operation("life")
        equal((status, last["state"]), (200, "in progress"), "the first poll")
    platform.wait_operation("life").must_succeed()
    exactly_as_asked(platform, "life", 2)
    zones = {platform.zones[cell] for cell in platform.nodes_of("life").values()}
    equal(len(zones), 2, "the number of zones of two nodes")

    status, _, fetched = platform.osb("GET", "/v2/service_instances/life")
    equal(status, 200, "fetching the instance")
    equal((fetched["service_id"], fetched["plan_id"]), (SERVICE, PLAN), "the fetched ids")
    true("password" not in str(fetched), "the fetched instance shows passwords")

    credentials = platform.bind("life", "app")
    equal(platform.bind("life", "app", expect=200), credentials, "the credentials of a repeated bind")
    status, _, fetched = platform.osb("GET", "/v2/service_instances/life/service_bindings/app")
    equal((status, fetched.get("credentials")), (200, credentials), "fetching the binding")
    with contextlib.closing(psycopg2.connect(credentials["uri"], connect_timeout=60)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("create table kept (number int)")
            cursor.execute("insert into kept values (42)")

    platform.update("life", node_count=3)
    platform.wait_operation("life").must_succeed()
    exactly_as_asked(platform, "life", 3)

    leader = platform.leader("life")
    platform.update("life", node_count=1)
    platform.wait_operation("life").must_succeed()
    exactly_as_asked(platform, "life", 1)
    equal(platform.leader("life"), leader, "the leader after shrinking")
    with contextlib.closing(psycopg2.connect(credentials["uri"], connect_timeout=60)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute("select number from kept")
            equal(cursor.fetchall(), [(42,)], "the row through the public port")

    platform.unbind("life", "app")
    platform.unbind("life", "app", expect=410)
    platform.remove("life")
    equal(platform.last_operation("life")[0], 410, "last_operation after the end")
    equal(platform.osb("GET", "/v2/service_instances/life")[0], 404, "fetching after the end")
    platform.deprovision("life", expect=410)


@scenario("a repeated request is the same request")
def repeated(platform):
    with platform.frozen_processes(platform.cells):  # so that the operation does not end before it is asked for again
        first = platform.provision("again", nodes=1)
        equal(platform.provision("again", nodes=1), first, "the answer while it is being created")
    platform.wait_operation("again").must_succeed()
    with nothing_changes(platform):
        platform.provision("again", nodes=1, expect=200)
        platform.provision("again", nodes=2, expect=409)
    with platform.frozen_processes(platform.cells):
        first = platform.update("again", node_count=2)
        equal(platform.update("again", node_count=2), first, "the answer while it is being updated")
    platform.wait_operation("again").must_succeed()
    platform.update("again", expect=200)  # no parameters: two nodes stay two
    exactly_as_asked(platform, "again", 2)
    platform.remove("again")


@scenario("an id with any characters names an instance")
def any_id(platform):
    instance = "möbel / & 100%25?"
    platform.create(instance, nodes=1)
    equal(platform.admin(instance)["instance_id"], instance, "the id in the record")
    equal(platform.bind(instance, "app")["uri"].split(":")[0] in ("postgres", "postgresql"), True,
          "a uri for PostgreSQL")
    platform.remove(instance)


@scenario("a cluster is made although the node that was to initialize it never learnt that it was")
def bootstrap_lost(platform):
    with platform.frozen_processes(platform.cells):
        platform.provision("unheard", nodes=2)
        # This is left of a write whose answer was lost: the nodes wait for another one to
        # initialize.
        platform.put_key("/service/unheard/initialize", "")
    platform.wait_operation("unheard").must_succeed()
    wait_until(lambda: "instance unheard: its first node was chosen, and makes no data"
               in platform.broker.log.read_text(), "the broker to have said that no node made the data before")
    exactly_as_asked(platform, "unheard", 2)
    platform.remove("unheard")
