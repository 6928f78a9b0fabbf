"""A wrong configuration: one line with file, line and what is allowed, and exit code 2."""

import subprocess

import yaml

from checks import equal, scenario, true
from layout import CONFIGURATIONS, MATRIARCH, ROOT
from waiting import PATIENCE


def said(platform, command, text, wanted, what):
    """Starts the program with that configuration; it must end at once with the expected message."""
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


@scenario("--help, the examples and `make up` agree on the cells and on all addresses")
def examples(platform):
    dev, cell, router = (yaml.safe_load(CONFIGURATIONS.joinpath(f"{name}.yml").read_text())
                         for name in ("dev", "cell", "router"))
    help_text = subprocess.run([MATRIARCH, "--help"], text=True, capture_output=True, timeout=PATIENCE).stdout
    ports = [int(one["uri"].rsplit(":", 1)[1]) for one in dev["cells"]]
    true(f"127.0.0.1:{ports[0]} to {ports[-1]}" in help_text, f"--help names no cells at {ports}")
    true(dev["etcd"]["machines"][0].removeprefix("http://") in help_text, "--help does not say where etcd is")
    equal((cell["etcd"], router["etcd"]), (dev["etcd"], dev["etcd"]), "etcd of cell.yml and router.yml")
    equal({name: cell["cell"][name] for name in ("guid", "availability_zone", "uri", "username", "password")},
          dev["cells"][0], "the cell of cell.yml, and the first of dev.yml")
    uri = "http://{username}:{password}@localhost:{port}".format(**dev["broker"])
    true(uri in help_text, f"--help does not say {uri}")
    true(uri in ROOT.joinpath("README.md").read_text(), f"the README does not say {uri}")
    equal(router["router"]["ports"], {name: dev["routing"][name] for name in ("first", "last")}, "the public ports")
    # Computes what `make up` starts, without starting it: the ports may be in use.
    up = object.__new__(type(platform))
    up.__dict__.update(platform.__dict__, fixed=True, cell_count=None)
    up.choose_cells()
    equal([f"https://{address}" for _, _, address in up.cell_addresses.values()],
          [one["uri"] for one in dev["cells"]], "where the cells of `make up` are")
