"""Short runs of the measuring tools, for a tool that nobody runs breaks unnoticed. Their figures are
printed, and mean little beside other tests."""

import pathlib
import subprocess
import sys

from checks import scenario
from waiting import PATIENCE, Failed

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"


def ends(name, *arguments):
    done = subprocess.run([sys.executable, BENCH / name, *arguments], text=True, timeout=2 * PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise Failed(f"{name} {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    print(done.stdout, end="", flush=True)


@scenario("the bench ends, and has a figure for each of its rows")
def bench(_):
    ends("bench.py", "--short")


@scenario("the measurements of outages and of strangers end")
def others(_):
    ends("outages.py", "HAProxy is killed")
    ends("hostile.py", "--aborted", "200", "--factor", "0")
