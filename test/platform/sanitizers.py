"""How programs compiled with sanitizers behave in tests, and how their reports are found.

Importing this sets the options for everything that is started afterwards. Programs without
sanitizers do not look at them; PostgreSQL and Patroni never see them, for a cell starts its nodes
with an environment of their own.
"""

import os
import pathlib
import re

SUPPRESSIONS = pathlib.Path(__file__).resolve().parents[1] / "sanitizers"

# No test expects this exit code of a program, and it is not 77, by which a test says "skipped".
EXIT_CODE = 86
COMMON = f"exitcode={EXIT_CODE}:halt_on_error=1:print_suppressions=0"
OPTIONS = {
    # Options such as strict_init_order find code that works only by chance. A core file with
    # AddressSanitizer would have terabytes. A smaller quarantine keeps memory figures comparable.
    "ASAN_OPTIONS": f"{COMMON}:detect_leaks=1:disable_coredump=1:detect_stack_use_after_return=1:"
                    "strict_string_checks=1:check_initialization_order=1:quarantine_size_mb=32",
    "UBSAN_OPTIONS": f"{COMMON}:print_stacktrace=1:suppressions={SUPPRESSIONS / 'undefined.txt'}",
    "LSAN_OPTIONS": f"print_suppressions=0:suppressions={SUPPRESSIONS / 'leaks.txt'}",
    "TSAN_OPTIONS": f"{COMMON}:second_deadlock_stack=1:suppressions={SUPPRESSIONS / 'threads.txt'}",
}
for name, value in OPTIONS.items():
    os.environ.setdefault(name, value)

REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|:\d+:\d+: runtime error: ")
# Enough lines of a report to see where it comes from.
LINES_SHOWN = 40


class Reports:
    """The sanitizers' reports in log files; each report is returned once."""

    def __init__(self):
        self.read_to = {}  # log file -> where the next look begins

    def new_in(self, logs):
        """The beginnings of the new reports in these files, each with its file's name."""
        found = []
        for log in sorted(logs):
            with log.open("rb") as file:
                file.seek(self.read_to.get(log, 0))
                text = file.read()
            self.read_to[log] = self.read_to.get(log, 0) + len(text)
            lines = text.decode(errors="replace").splitlines()
            for number, line in enumerate(lines):
                if REPORT.search(line):
                    found.append("\n".join([f"a sanitizer's report in {log.name}:",
                                            *lines[number:number + LINES_SHOWN]]))
        return found
