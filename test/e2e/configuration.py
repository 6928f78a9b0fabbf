"""A configuration that is wrong: one line with file, line and what is allowed, and exit code 2."""

import subprocess

import yaml

from checks import equal, scenario, true
from local_platform import MATRIARCH, PATIENCE


def said(platform, command, text, wanted, what):
    """Starts the program with that configuration; it must end at once and say what is wanted."""
    path = platform.directory / "wrong.yml"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    done = subprocess.run([MATRIARCH, command, "--config", path], text=True, capture_output=True, timeout=PATIENCE)
    equal(done.returncode, 2, f"{what}: the exit code; stderr: {done.stderr!r}")
    lines = done.stderr.splitlines()
    equal(len(lines), 1, f"{what}: the number of lines in {lines}")
    for word in (str(path), *wanted):
        true(word in lines[0], f"{what}: no {word!r} in {lines[0]!r}")


def line_of(text, needle, last=False):
    numbers = [number for number, line in enumerate(text.splitlines(), 1) if needle in line]
    return f":{numbers[-1 if last else 0]}:"


@scenario("a wrong configuration of the broker is refused in one line that helps")
def broker(platform):
    good = platform.broker_configuration()
    text = yaml.safe_dump(good, sort_keys=False)
    said(platform, "broker", None, [], "a missing file")
    said(platform, "broker", "broker: [\n", [":"], "malformed YAML")
    wrong = text.replace("username: starkandwayne", "usrname: starkandwayne", 1)
    said(platform, "broker", wrong, [line_of(wrong, "usrname"), "usrname", "username"], "an unknown key")
    for port in ("0", "65536", "-1", "http", "[1]"):
        wrong = text.replace(f"port: {platform.broker_port}", f"port: {port}", 1)
        said(platform, "broker", wrong, [line_of(wrong, f"port: {port}"), "port", "65535"], f"port {port}")
    first, second = platform.guids[:2]
    wrong = text.replace(f"guid: {second}", f"guid: {first}", 1)
    said(platform, "broker", wrong, [line_of(wrong, f"guid: {first}", last=True), first], "two cells with one guid")
    del good["etcd"]
    said(platform, "broker", yaml.safe_dump(good, sort_keys=False), ["etcd"], "no etcd")


@scenario("a wrong configuration of a cell or a router is refused in one line that helps")
def others(platform):
    for command, path in (("cell", platform.directory / f"{platform.guids[0]}.yml"),
                          ("router", platform.directory / "router.yml")):
        text = path.read_text()
        said(platform, command, None, [], f"{command}: a missing file")
        said(platform, command, "- 1\n", [":"], f"{command}: a list")
        said(platform, command, text + "nonsense: 1\n", [line_of(text + "nonsense: 1\n", "nonsense"), "nonsense"],
             f"{command}: an unknown key")


@scenario("the configuration's path can come from the environment")
def environment(platform):
    path = platform.directory / "wrong.yml"
    path.unlink(missing_ok=True)
    done = subprocess.run([MATRIARCH, "broker"], text=True, capture_output=True, timeout=PATIENCE,
                          env={"PATRONI_BROKER_CONFIG": str(path)})
    equal(done.returncode, 2, f"the exit code; stderr: {done.stderr!r}")
    true(str(path) in done.stderr, f"no path in {done.stderr!r}")
