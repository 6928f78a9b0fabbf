"""What an operator sees and does."""

import json
import os
import subprocess

from checks import equal, exactly_as_asked, names_in, scenario, true
from layout import MATRIARCH
from waiting import PATIENCE


def matriarch(platform, *words):
    """Runs an operator's command against this platform: (status, stdout, stderr)."""
    done = subprocess.run([MATRIARCH, *words], text=True, capture_output=True, timeout=PATIENCE,
                          env={**os.environ, "BROKER_URI": platform.broker_uri_with_credentials})
    return done.returncode, done.stdout, done.stderr


@scenario("service-status and show-cells tell what there is, as tables and as JSON")
def commands(platform):
    platform.create("seen", nodes=2)
    for words, wanted in ((["show-cells"], platform.guids),
                          (["service-status"], ["seen"]),
                          (["service-status", "seen"], [*platform.nodes_of("seen"), "master"])):
        status, out, err = matriarch(platform, *words)
        equal(status, 0, f"{' '.join(words)}: {err}")
        for word in wanted:
            # A table may shorten an id, and calls the leader as it likes.
            true(word[:8] in out or word == "master" and "leader" in out, f"{words}: no {word} in\n{out}")
        status, out, err = matriarch(platform, *words, "--json")
        equal(status, 0, f"{' '.join(words)} --json: {err}")
        true(not any("password" in name for name in names_in(json.loads(out))),
             f"{words} --json shows a password")
    status, _, err = matriarch(platform, "service-status", "nobody")
    true(status != 0 and "nobody" in err, f"an unknown instance: {status}, {err!r}")
    platform.remove("seen")


@scenario("the admin API shows everything but passwords, to those who log in")
def admin(platform):
    platform.create("shown", nodes=1)
    for path in ("/admin/cells", "/admin/service_instances", "/admin/service_instances/shown"):
        status, _, answer = platform.osb("GET", path)
        equal(status, 200, path)
        true(not any("password" in name for name in names_in(answer)), f"{path} shows a password")
        record = platform.record("shown")
        for credentials in ("admin", "superuser", "app"):
            true(record[f"{credentials}_credentials"]["password"] not in json.dumps(answer),
                 f"{path} shows the {credentials} password")
        equal(platform.osb("GET", path, auth=None)[0], 401, f"{path} without a login")
        equal(platform.osb("GET", path, auth=("x", "y"))[0], 401, f"{path} with a wrong login")
    equal(platform.osb("GET", "/admin/service_instances/nobody")[0], 404, "an unknown instance")
    platform.remove("shown")


@scenario("an operator gets one JSON document: 200 for what exists, 404 for what does not")
def found_or_not(platform):
    platform.create("there", nodes=1)
    for path, wanted in (("/admin/cells", 200), ("/admin/service_instances", 200),
                         ("/admin/service_instances/there", 200), ("/admin/service_instances/nobody", 404),
                         ("/admin/nothing", 404)):
        # Two documents in a row would not parse as JSON, and come as a text.
        status, headers, answer = platform.osb("GET", path)
        equal((status, headers["Content-Type"], type(answer) in (dict, list)), (wanted, "application/json", True),
              f"{path}: {answer}")
    platform.remove("there")


@scenario("demoting a cell moves its leaders away and keeps its nodes")
def demote(platform):
    platform.create("led", nodes=2)
    leader = platform.leader("led")
    cell = platform.nodes_of("led")[leader]
    # A leader may be demoted as soon as a replica streams; the broker finds that out by itself.
    status, _, answer = platform.osb("POST", f"/admin/cells/{cell}/demote")
    equal(status, 200, f"demoting {cell}: {answer}")
    exactly_as_asked(platform, "led", 2)
    true(platform.leader("led") != leader, "the leader is still on the demoted cell")
    status, _, answer = platform.osb("POST", "/admin/cells/nowhere/demote")
    equal(status, 404, f"demoting an unknown cell: {answer}")
    platform.remove("led")
