"""The Open Service Broker API 2.17, row by row of a checklist: each row is a test of its own.

A row's level is the specification's: MUST, SHOULD or MAY. The rows share a few instances, made once:

    main      two real nodes; what is refused is tried on it, and it stays as it is
    solo      one real node; its bindings end after 90 days
    held      being created, for its node does not appear
    updating  being updated, for its second node does not appear
    failed    whose creation failed, for its cell refused
    gone      removed

The rows are in osb_chapters/, a file for each chapter; they are run in the order of the imports here.
"""

from checks import equal, scenario, true
from offers import STRICT
from osb_chapters.requests import ASYNC, instance
from osb_chapters.rows import COVERED, ROWS, print_rows  # noqa: F401

# The chapters, in the order in which they are run.
from osb_chapters import all_requests  # noqa: F401
from osb_chapters import catalog  # noqa: F401
from osb_chapters import provisioning  # noqa: F401
from osb_chapters import last_operation  # noqa: F401
from osb_chapters import fetching  # noqa: F401
from osb_chapters import updating  # noqa: F401
from osb_chapters import binding_rows  # noqa: F401
from osb_chapters import binding_ends  # noqa: F401
from osb_chapters import deprovisioning  # noqa: F401

PLATFORM = STRICT


def finish(platform):
    """Removes what the rows shared."""
    platform.witnesses.clear()
    for cell in platform.held:
        cell.obey()
    names = [entry["instance_id"] for entry in platform.osb("GET", "/admin/service_instances")[2]]
    for name in names:
        platform.osb("DELETE", instance(name), None, {**platform.ids_of(name), **ASYNC})
    for name in names:
        true(platform.wait_operation(name).gone, f"{name} was not removed")
    platform.plan_of.clear()


@scenario("every row of the checklist has a test")
def complete(_):
    equal(sorted(ROWS.keys() - COVERED.keys()), [], "the rows without a test")
