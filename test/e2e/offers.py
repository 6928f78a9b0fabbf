"""The platform that is strict, and what its catalog offers beside the plan of conf/dev.yml."""

SINGLE = "51a0f1e0-0001-4000-8000-000000000001"  # one node
LARGE = "51a0f1e0-0002-4000-8000-000000000002"  # two nodes, more connections and memory
FIXED = "51a0f1e0-0003-4000-8000-000000000003"  # no change to another plan
CLOSED = "51a0f1e0-0004-4000-8000-000000000004"  # no bindings
LASTING = "51a0f1e0-0005-4000-8000-000000000005"  # bindings end after 90 days, two connections each
HURRIED = "51a0f1e0-0006-4000-8000-000000000006"  # operations may take some seconds only
SYNCHRONOUS = "51a0f1e0-0007-4000-8000-000000000007"
OTHER_TYPE = "51a0f1e0-0008-4000-8000-000000000008"  # two nodes of another type
GENEROUS = "51a0f1e0-0009-4000-8000-000000000009"  # its bindings hold the superuser
SHARED = "51a0f1e0-0012-4000-8000-000000000012"  # all bindings have one user
STRICTLY = "51a0f1e0-0014-4000-8000-000000000014"  # synchronous, and no writes without a replica
WALLED = "51a0f1e0-0015-4000-8000-000000000015"  # limits each node's use of its machine
OTHER_SERVICE = "51a0f1e0-0010-4000-8000-000000000010"
OTHER_PLAN = "51a0f1e0-0011-4000-8000-000000000011"

# How long operations may take, in seconds. An operation that a test holds must not end before the
# test; one of the HURRIED plan has to succeed within that time on a slow machine, and to exceed it
# soon.
LONGEST, LONGEST_HURRIED = 3600, 15

VERSION = "1.2.0"
NEWER_VERSION = "1.3.0-rc.1+build.7"


def plan(identity, name, **provision):
    return {"id": identity, "name": name, "description": f"For tests: {name}", "free": True,
            "plan_updateable": True, "binding_rotatable": True, "maximum_polling_duration": LONGEST,
            "maintenance_info": {"version": VERSION, "description": "Restarts the nodes one by one"},
            "provision": {"engine": "postgresql", "node_count": 1, **provision}}


def offer(kind, config):
    """The differences from conf/dev.yml in the broker's configuration."""
    if kind != "broker":
        return
    service = config["catalog"]["services"][0]
    service["allow_context_updates"] = True
    cluster = service["plans"][0]
    service["plan_updateable"] = True
    cluster.update(plan_updateable=True, binding_rotatable=True, maximum_polling_duration=LONGEST, maintenance_info={
        "version": VERSION, "description": "Restarts the nodes one by one"})
    parameters = {"shared_buffers": "16MB", "max_connections": "100"}
    cluster["provision"].update(credentials="per-binding", parameters=parameters)
    service["plans"] = [
        cluster,
        plan(SINGLE, "single"),
        plan(LARGE, "large", node_count=2,
             parameters={"max_connections": "150", "shared_buffers": "24MB", "work_mem": "5MB"}),
        {**plan(FIXED, "fixed"), "plan_updateable": False},
        {**plan(CLOSED, "closed"), "bindable": False},
        plan(LASTING, "lasting", binding_lifetime="90d", connection_limit=2),
        {**plan(HURRIED, "hurried"), "maximum_polling_duration": LONGEST_HURRIED},
        plan(SYNCHRONOUS, "synchronous", node_count=2, synchronous=True, parameters=parameters),
        plan(OTHER_TYPE, "other-type", node_count=2, node_type="large",
             parameters={**parameters, "max_connections": "120"}),
        plan(GENEROUS, "generous", superuser_in_bindings=True),
        plan(SHARED, "shared", credentials="shared"),
        plan(WALLED, "walled", memory="256MB", processes=300, cpu=1, disk="600MB",
             parameters={"shared_buffers": "16MB", "max_wal_size": "64MB", "min_wal_size": "32MB",
                         "wal_keep_size": "16MB"}),
        plan(STRICTLY, "strictly-synchronous", node_count=2, synchronous="strict", ttl=6),
    ]
    config["catalog"]["services"].append({
        "id": OTHER_SERVICE, "name": "other-postgresql", "description": "Another service",
        "bindable": True, "plans": [{**plan(OTHER_PLAN, "only"), "plan_updateable": False}]})


STRICT = {"strict": True, "tls": True, "held": 3, "edit": offer}
