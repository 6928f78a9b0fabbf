"""Every line of the README's examples: those of the original broker's own documentation."""

import json
import os
import pathlib
import re
import subprocess
import time

from checks import equal, names_in, scenario, shape, true
from waiting import PATIENCE, Failed, wait_until

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"

# The documented answers for an instance and a cell, deliberately without the passwords.
DOCUMENTED_INSTANCE = {
    "instance_id": "…", "service_id": "…", "plan_id": "…", "organization_guid": "…", "space_guid": "…",
    "admin_credentials": {"username": "…"}, "superuser_credentials": {"username": "…"},
    "app_credentials": {"username": "…"}, "allocated_port": 30005,
    "nodes": [{"node_id": "…", "backend_id": "…", "plan_id": "…", "service_id": "…"}]}
DOCUMENTED_CELL = {"guid": "…", "uri": "…", "az": "…", "username": "…"}

# The forms of last_operation, in the document's order.
DOCUMENTED_PROGRESS = [("in progress", "members"), ("in progress", "master"), ("succeeded", "master")]


# How long, in seconds, a broker lets a request wait for the end of its operation; then it answers
# 202.
SYNCHRONOUS = 50


class Shell:
    """Runs the lines one after the other, with the variables that earlier lines exported."""

    def __init__(self, platform):
        self.variables = {"BROKER_URI": platform.broker_uri_with_credentials}

    def export(self, line):
        name, value = line.removeprefix("export ").split("=", 1)
        self.variables[name] = value

    def curl(self, line):
        """(status, JSON) of the answer."""
        done = subprocess.run(["bash", "-c", line + " -w '\\n%{http_code}'"], text=True, timeout=PATIENCE,
                              capture_output=True, env={**os.environ, **self.variables})
        body, _, status = done.stdout.rpartition("\n")
        if not status.isdigit() or status == "000":
            raise Failed(f"{line}: curl ended with {done.returncode}: {done.stderr}")
        try:
            return int(status), json.loads(body)
        except ValueError:
            raise Failed(f"{line}: {status}, and the body is no JSON: {body!r}")


def contains_shape(found, documented, what):
    """Every documented key is there with the documented type; more keys may be."""
    found, documented = shape(found), shape(documented)
    def compare(have, want, path):
        if isinstance(want, dict):
            true(isinstance(have, dict), f"{what}: {path} is {have}")
            for name, inner in want.items():
                true(name in have, f"{what}: {path}.{name} is missing")
                compare(have[name], inner, f"{path}.{name}")
        elif isinstance(want, list):
            true(isinstance(have, list) and have, f"{what}: {path} is {have}")
            compare(have[0], want[0], f"{path}[0]")
        else:
            equal(have, want, f"{what}: the type of {path}")
    compare(found, documented, "")


def documented_progress(lines, nodes):
    """The sequence of last_operation answers is a part of the document's, in the same order, with the
    same end."""
    forms = []
    for state, description in lines:
        true(re.match(r"(members \w|master \w[\w ]*; replicas \w|master \w[\w ]*$)", description),
             f"unknown description {description!r}")
        form = (state, description.split()[0])
        if forms[-1:] != [form]:
            forms.append(form)
    remaining = iter(DOCUMENTED_PROGRESS)
    true(all(form in remaining for form in forms), f"not in the document's order: {lines}")
    equal(lines[-1], ("succeeded", "master running; replicas " + ", ".join(["running"] * (nodes - 1))),
          "the last line")


def watch(shell, line, nodes):
    """`watch curl …`: polls until the operation has ended."""
    seen = []
    def ended():
        status, answer = shell.curl(line.removeprefix("watch "))
        equal(status, 200, line)
        equal(set(answer) - {"state", "description"}, set(), "further keys of last_operation")
        entry = (answer["state"], answer["description"])
        if seen[-1:] != [entry]:
            seen.append(entry)
        return entry[0] != "in progress"
    wait_until(ended, lambda: f"the end of the operation; last_operation said {seen}")
    documented_progress(seen, nodes)


def example_lines():
    """The lines of the shell blocks in the README's chapter of examples."""
    chapter = README.read_text().split("## The API by examples", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@scenario("the curl lines of the README work as they stand")
def curl_lines(platform):
    shell = Shell(platform)
    curls = 0
    for line in example_lines():
        if line.startswith("export "):
            shell.export(line)
            if line == "export id=b3":
                # Eight nodes at most at a time on a small machine: b1 has four, b2 two, b3 wants four.
                platform.remove("b2")
            continue
        curls += 1
        if line.startswith("watch "):
            watch(shell, line, int(shell.variables["nodes"]))
            continue
        start = time.monotonic()
        status, answer = shell.curl(line)
        took = time.monotonic() - start

        if "/admin/cells" in line:
            equal(status, 200, line)
            contains_shape(answer, [DOCUMENTED_CELL], line)
            equal(sorted(cell["guid"] for cell in answer), sorted(platform.guids), "the cells")
        elif "/admin/service_instances" in line:
            equal(status, 200, line)
            contains_shape(answer, DOCUMENTED_INSTANCE, line)
            equal(len(answer["nodes"]), 4, "the nodes of b3")
        elif "service_bindings" in line:
            equal(status, 201, line)
            contains_shape(answer, {"credentials": {"uri": "…"}}, line)
        elif "accepts_incomplete" in line:
            equal(status, 202, line)
        else:
            if status == 202 and took >= SYNCHRONOUS:
                platform.wait_operation(shell.variables["id"]).must_succeed()
            else:
                equal(status, 200 if "PATCH" in line else 201, line)
            true(isinstance(answer, dict), f"{line}: {answer}")
            nodes = int(shell.variables["nodes"])
            equal(len(platform.running_nodes()), nodes, "the nodes once the synchronous answer is there")
        if "/admin/" in line:
            true("password" not in set(names_in(answer)), f"{line}: a password is shown")
    equal(curls, 9, "the curl lines that were run")
    for instance in ("b1", "b3"):
        platform.deprovision(instance)
    for instance in ("b1", "b3"):
        platform.wait_operation(instance).must_succeed()
