"""Programs, and the processes of this machine."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess

from waiting import END_DEADLINE


class Process:
    """A program of the platform, in a process group of its own, with a log file."""

    def __init__(self, name, command, directory, environment=None):
        self.name, self.command = name, [str(word) for word in command]
        self.log = directory / f"{name}.log"
        self.directory, self.environment = directory, environment
        self.running = None

    def start(self):
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env={**os.environ, **(self.environment or {})}, start_new_session=True)

    @property
    def pid(self):
        return self.running.pid

    def alive(self):
        return self.running is not None and self.running.poll() is None

    def kill(self, number=signal.SIGKILL):
        self.running.send_signal(number)

    def stop(self, number=signal.SIGTERM, deadline=END_DEADLINE):
        """Ends it, by SIGKILL after the deadline. Returns its exit status."""
        if self.running is None:
            return None
        if self.alive():
            self.running.send_signal(signal.SIGCONT)
            self.running.send_signal(number)
            try:
                self.running.wait(deadline)
            except subprocess.TimeoutExpired:
                self.running.kill()
        return self.running.wait()


def processes_of(directory):
    """The pids of all processes whose command line or working directory is in that directory."""
    wanted = str(directory)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = pathlib.Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
            try:
                inside = os.readlink(f"/proc/{entry}/cwd")
            except OSError:
                inside = ""
            if wanted in command or (inside + "/").startswith(wanted + "/"):
                found.append(int(entry))
    return found


def parent_of(pid):
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE).group(1))
    return None


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def descendants_of(pid):
    """The pids of all processes below one, from the top down."""
    found = [pid]
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(parent_of(int(entry)), []).append(int(entry))
    for one in found:
        found += children.get(one, [])
    return found[1:]


def name_of_process(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def is_namespace_init(pid):
    """Whether that process is pid 1 of a PID namespace below ours."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        inner = re.search(r"^NSpid:(.*)$", status, re.MULTILINE).group(1).split()
        return len(inner) > 1 and inner[-1] == "1"
    return False


def listening_below(octet):
    """The addresses `ip:port` of 127.octet.0.0/16 on which a process listens."""
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] != "0A":  # LISTEN
            continue
        address, port = words[1].split(":")
        ip = socket.inet_ntoa(bytes.fromhex(address)[::-1])
        if ip.startswith(f"127.{octet}."):
            found.add(f"{ip}:{int(port, 16)}")
    return found


def tail(log, lines=8):
    """The last lines of a log file, for messages."""
    with contextlib.suppress(OSError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"
