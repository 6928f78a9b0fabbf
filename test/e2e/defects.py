"""What the original broker gets wrong, and the tests that would catch each of it here.

`run.py --defects` prints it. Names are those of doctest's cases and of scenarios, as they stand.
"""

import pathlib
import re

import checks
from checks import scenario, true

TEST = pathlib.Path(__file__).resolve().parents[1]

DEFECTS = {
    "Ports and containers": [
        ("Of 100 provisions at once most got port 0, and succeeded", [
            "a hundred provisions at once get a hundred distinct ports",
            "several clusters are created and removed at once, each with a port of its own",
            "a hundred provisions at once, on failing cells, all end as their answers say"]),
        ("Ports are never used again", [
            "a released port rests before another instance gets it",
            "the first read-only binding opens a second port, which rests with the instance's end"]),
        ("Ports have no upper bound", [
            "there is no port when all are held or rest",
            "a provision without a free port is refused before anything is written"]),
        ("A cell answers 500 to a DELETE: 200, the cluster is forgotten, its containers stay", [
            "DEP-8: a removal that cannot be finished is failed and names the cell, not successful",
            "a deprovision with a cell away fails naming it, and ends when it returns"]),
        ("A DELETE during a provision: 200, then the provision goes on and saves itself again", [
            "a removal in the middle of a provision ends both, and nothing is left",
            "PRV-24: a removal while it is being provisioned ends the provision and leaves nothing",
            "a deprovision during provisioning supersedes it and leaves nothing"]),
        ("The same PUT twice at once is accepted twice, with containers for both", [
            "the same provision sent twice at once makes one cluster",
            "two identical provisions at once make one cluster"]),
        ("Two updates at once: more containers than either wanted, in progress for ever", [
            "two different updates at once: one is done, the other is refused with a request to wait",
            "UPD-14: another update while one is under way is answered 422 ConcurrencyError"]),
        ("An update while it is being provisioned is accepted", [
            "UPD-15: an update while it is being provisioned is answered 422 ConcurrencyError",
            "an update during a provision or a removal has to wait"]),
        ("A binding while it is being provisioned is accepted", [
            "BND-12: a binding while the instance is being worked on is answered 422 ConcurrencyError"]),
        ("A poll right after an update's 202 says succeeded", [
            "LOP-12: the first poll after a 202 never reports the previous operation"]),
        ("kill -9 in the middle of a provision or an update: in progress for ever", [
            "a broker that is killed in the middle of any workflow leaves exactly what was asked for",
            "the broker is killed in the middle of a provision",
            "the broker is killed in the middle of an update",
            "whatever is killed, each change ends, no acknowledged row is lost, and nothing is left"]),
        ("A PATCH without node-count shrinks three nodes to two", [
            "UPD-10: an update without parameters leaves them: two nodes do not become the plan's one",
            "an update without parameters changes nothing"]),
        ("node-count: 2.5 is accepted", [
            "an invalid provision is refused, and nothing is made",
            "PRV-16, UPD-8: a parameter against its schema is refused with what is allowed"]),
        ("plan_id in a PATCH is ignored", [
            "a change to a larger plan reaches every node with one switchover, and loses nothing",
            "UPD-11: a change of plan that is not declared is answered 422"]),
    ],
    "Outages": [
        ("A cell that hangs: nothing ever gives up waiting", [
            "ALL-17: answers come in time although a cell hangs",
            "a cell that fails to start a node is skipped for the next one",
            "a request without an answer ends at its time-out and may have been seen"]),
        ("etcd stopped: requests hang", [
            "etcd is frozen: databases and reads go on, changes are refused at once, and all recovers by itself"]),
        ("etcd refusing: a PUT is answered 202", [
            "when etcd refuses, the answer is unavailable and nothing is written",
            "when etcd refuses in the middle of an acceptance, what was written is taken back"]),
        ("etcd refusing: a DELETE is told that the instance does not exist", [
            "an unknown id is not found only after a look into etcd"]),
    ],
    "Protocol and tenants": [
        ("The API version is not checked", [
            "ALL-2: an unsupported version is answered 412 with the wanted one, and nothing is done",
            "ALL-3: a request without a version is answered 412"]),
        ("AsyncRequired is unknown", [
            "PRV-3: a provision without accepts_incomplete is answered 422 AsyncRequired",
            "UPD-3: an update without accepts_incomplete=true is answered 422 AsyncRequired",
            "DEP-5: a removal without accepts_incomplete=true is answered 422 AsyncRequired"]),
        ("Unknown services and plans are accepted", [
            "PRV-14: a provision of an unknown service is answered 400",
            "PRV-15: a provision of a plan that is not of the service is answered 400"]),
        ("A provision of what exists is answered 500", [
            "PRV-5: the same provision again, once it is done, is answered 200",
            "PRV-7: the same id with other attributes is answered 409"]),
        ("What does not exist is answered 500", [
            "what does not exist is reported as not existing",
            "DEP-4: the removal of what does not exist is answered 410"]),
        ("A failed operation is an HTTP 500", [
            "LOP-7: a failed operation is answered 200 with what failed"]),
        ("401 and 404 are plain text", [
            "ALL-9: every error is a JSON object whose error and description are texts",
            "ALL-14: every answer with a body is application/json"]),
        ("Instances and bindings cannot be fetched", [
            "GIN-1: an instance can be fetched as soon as it is there",
            "GBN-1: a binding can be fetched as soon as it is made, with its credentials"]),
        ("No answer names its operation", [
            "PRV-6: the same provision again, while it is under way, is answered 202 with the same operation",
            "UPD-19: an update's operation is a text",
            "DEP-10: a removal's operation is a text of 10,000 characters at most"]),
        ("Parameters have no schemas", [
            "CAT-12: each plan has schemas for create, update and bind: with $schema, small and self-contained"]),
        ("There is no Retry-After", [
            "LOP-9: Retry-After comes while an operation is in progress, and not after"]),
        ("In progress is always \"Preparing...\"", [
            "LOP-3: a description is a text that says something",
            "what else is waited for follows the members' states"]),
        ("Every binding has the same user, which is also the replication user", [
            "two applications share tables, and each may alter what the other made; each has its own role",
            "who replicates does nothing else, and nobody else replicates",
            "no two users of any instances are the same, and each has its own password"]),
        ("Every binding has the superuser", [
            "no binding holds the superuser, unless the plan says so"]),
        ("An unbind revokes nothing", [
            "UNB-5: the credentials of a binding that was ended do not work"]),
        ("/admin/cells shows passwords", [
            "the admin API shows everything but passwords, to those who log in",
            "the operator's answers hold no password"]),
        ("Credentials are logged", [
            "no secret is in a log, the audit trail, etcd, a command line, an answer or a file that others read"]),
        ("An unknown instance answers an operator with two JSON documents", [
            "an operator gets one JSON document: 200 for what exists, 404 for what does not"]),
        ("A backup of an instance's data that is found answers 404", [
            "an operator gets one JSON document: 200 for what exists, 404 for what does not"]),
        ("Demoting an unknown cell is told to be completed", [
            "a demotion tells what moved, what did not, and of a cell that is not there"]),
    ],
    "Speed": [
        ("A fixed second for each step", [
            "a provision whose nodes appear at once waits for nothing"]),
        ("last_operation reads etcd each time", [
            "LOP-1, LOP-2, LOP-7, LOP-9, LOP-10, ALL-13: last_operation is answered from the snapshot, "
            "without asking the backend"]),
        ("Choosing a cell loads every cluster", [
            "a provision reads nothing of the other instances, however many there are"]),
    ],
}

CASE = re.compile(r'(TEST_CASE(?:_FIXTURE)?|TEST_CASE_TEMPLATE)\(\s*(?:\w+\s*,\s*)?((?:"(?:[^"\\]|\\.)*"\s*)+)')
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def tests_there():
    """Every test's name -> the file that has it."""
    found = {}
    for source in sorted(TEST.rglob("*.cpp")):
        for case in CASE.finditer(source.read_text()):
            name = "".join(LITERAL.findall(case.group(2))).replace('\\"', '"').replace("\\\\", "\\")
            found[name] = source.relative_to(TEST.parent)
    for file, title, _ in checks.SCENARIOS:
        found[title] = pathlib.Path("test/e2e", f"{file}.py")
    return found


def missing():
    """(defect, test) for each test that is named above and does not exist."""
    there = tests_there()
    return [(defect, test) for entries in DEFECTS.values() for defect, tests in entries for test in tests
            if test not in there]


def print_defects():
    there = tests_there()
    for group, entries in DEFECTS.items():
        print(f"\n{group}")
        for defect, tests in entries:
            print(f"  {defect}")
            for test in tests:
                print(f"      {there.get(test, 'MISSING')}: {test}")
    tests = [test for entries in DEFECTS.values() for _, tests in entries for test in tests]
    print(f"\n{sum(len(entries) for entries in DEFECTS.values())} defects, {len(set(tests))} tests")


@scenario("each defect of the original has a test that would catch it")
def all_there(platform):
    del platform
    true(not missing(), lambda: f"tests that do not exist: {missing()}")
    true(all(tests for entries in DEFECTS.values() for _, tests in entries), "a defect without a test")
