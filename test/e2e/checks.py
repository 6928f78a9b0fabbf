"""Shared by the scenarios: the decorator, and comparisons whose failures explain themselves."""

import contextlib
import pathlib
import sys

import psycopg2

from databases import ask_postgresql
from waiting import Failed, wait_until

SCENARIOS = []  # (file, title, function) in the order of their definition


def scenario(title, file=None):
    """Marks a function as a scenario; the title states what holds if it passes. The scenario belongs to
    its own file, unless `file` names another one that runs it."""
    def mark(function):
        own = pathlib.Path(sys.modules[function.__module__].__file__).stem
        SCENARIOS.append((file or own, title, function))
        return function
    return mark


def rows_of(uri, statement, *values, **parameters):
    """The rows of one statement, as an application sees them."""
    return ask_postgresql(lambda: psycopg2.connect(uri, **{"connect_timeout": 60, **parameters}),
                          statement, *values)


def sqlstate(uri, statement, **parameters):
    """The SQLSTATE that a statement ends with; None if it succeeds."""
    try:
        rows_of(uri, statement, **parameters)
        return None
    except psycopg2.Error as error:
        return error.pgcode or f"no code: {str(error).strip()}"


def equal(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: {found!r} instead of {wanted!r}")


def true(held, what):
    if not held:
        raise Failed(what() if callable(what) else what)


def shape(value):
    """The keys and types of a JSON value, in which two answers of the same meaning agree."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def names_in(value):
    """Every key of every object of a JSON value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def json_error(answer, what, error=None):
    """Checks an error against the specification: a JSON object with a description for a person."""
    status, headers, body = answer[:3]
    true(isinstance(body, dict), f"{what}: the body is no JSON object: {body!r}")
    true(headers.get("Content-Type", "").startswith("application/json"),
         f"{what}: the content type is {headers.get('Content-Type')}")
    true(isinstance(body.get("description"), str) and body["description"],
         f"{what}: {status} without a description: {body}")
    if error is not None:
        equal(body.get("error"), error, f"{what}: the error code")


REFUSALS = ("authentication failed", "not permitted to log in", "does not exist", "no pg_hba.conf entry",
            "pg_hba.conf rejects")


def connects(uri, **parameters):
    """Whether PostgreSQL accepts a login. While nothing answers (after a failover the router has to see
    the new leader first) it is asked again."""
    said = ["nothing"]

    def answered():
        try:
            psycopg2.connect(uri, **{"connect_timeout": 10, **parameters}).close()
            return "yes"
        except psycopg2.OperationalError as error:
            said[0] = str(error).strip()
            return "no" if any(reason in said[0] for reason in REFUSALS) else None
    return wait_until(answered, lambda: f"PostgreSQL to let one in or to refuse; it said {said[0]}") == "yes"


# Patroni writes below its scope at any time; cells and the broker renew their own keys.
RESTLESS = ("/leader", "/status", "/config", "/history", "/sync", "/failsafe", "/initialize", "/failover")


def recorded(platform):
    """All keys that change only on request."""
    return {key: value for key, value in platform.keys().items()
            if not (key.startswith("/service/") and ("/members/" in key or key.endswith(RESTLESS)))
            and not key.startswith(("/cells/", "/routers/", "/matriarch/heartbeat", "/matriarch/active",
                                    "/postgresql-brokerpatroni/"))}


@contextlib.contextmanager
def nothing_changes(platform):
    """What happens inside must leave no trace in etcd, on a cell, or in what the platform's witnesses see
    (for example the roles in PostgreSQL)."""
    keys, nodes = recorded(platform), platform.running_nodes()
    seen = [witness() for witness in platform.witnesses]
    yield
    now = recorded(platform)
    changed = sorted(key for key in keys.keys() | now.keys() if keys.get(key) != now.get(key))
    true(not changed, f"changed in etcd: {changed}")
    equal(platform.running_nodes(), nodes, "the nodes on the cells")
    equal([witness() for witness in platform.witnesses], seen, "what the witnesses see")


def exactly_as_asked(platform, instance, nodes, cells=None):
    """The cells run exactly the nodes that the record lists, each on its cell; the instance holds one
    port; Patroni sees all nodes running."""
    platform.wait_all_running(instance, nodes)
    # A node that was replaced while it was being made may not be removed yet.
    wait_until(lambda: len(platform.record(instance)["nodes"]) == nodes, f"the nodes in the record to be {nodes}")
    record = platform.record(instance)
    listed = {node["node_id"]: node["backend_id"] for node in record["nodes"]}
    running = {node: guid for node, (guid, scope) in platform.running_nodes().items()
               if scope == record["scope"]}
    equal(running, listed, "the nodes on the cells, compared with the record")
    if cells is not None:
        equal(sorted(listed.values()), sorted(cells), "the cells used")
    ports = [key for key, value in platform.keys("/routing/port/").items()
             if instance in value and not platform.rests(value)]
    numbers = sorted(int(key.rsplit("/", 1)[1]) for key in ports)
    wanted = {platform.public_port(instance), platform.read_only_port(instance)} - {None}
    equal(numbers, sorted(wanted), f"the ports of {instance}")
    equal(record["allocated_port"], platform.public_port(instance), "the record's port")
