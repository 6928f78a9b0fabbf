"""Clients that measure outages: one that reads, and one that asks for changes."""

import threading
import time

from layout import PLAN, SERVICE
from waiting import Failed, wait_until


class Reader:
    """Polls an instance's last_operation as platforms do: notes how long each poll took, and what failed."""

    PAUSE = 0.05

    def __init__(self, platform, instance):
        self.platform, self.instance = platform, instance
        self.count, self.slowest = 0, 0.0
        self.failures = []  # answers other than 200
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(30)

    def _read(self):
        path = self.platform.instance_path(self.instance) + "/last_operation"
        while not self.ended.wait(self.PAUSE):
            start = time.monotonic()
            try:
                status = self.platform.osb("GET", path, timeout=10)[0]
            except OSError as error:
                status = type(error).__name__
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.count += 1
            if status != 200:
                self.failures.append(status)


class Caller:
    """Asks for a new instance until the request is accepted, as a platform does that is told to try again.

    It asks sooner than Retry-After says, to see more of the outage.
    """

    PAUSE = 0.2

    def __init__(self, platform, instance, nodes=1, cells=None):
        self.platform, self.instance = platform, instance
        self.parameters = {"node-count": nodes, **({"cells": cells} if cells else {})}
        self.answers = []  # (asked at, seconds, status, description, Retry-After)
        self.taken_at = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join(80)

    def wait_taken(self):
        return wait_until(lambda: self.taken_at,
                          lambda: f"{self.instance} to be taken; last answers: {self.answers[-2:]}")

    def refusals(self, until=None):
        """The refused requests before that time, as the seconds that each refusal took."""
        return [seconds for at, seconds, status, _, _ in self.answers
                if status not in (200, 202) and (until is None or at < until)]

    def must_be_told_to_return(self):
        """Every refusal has to be a 503 with Retry-After; without a broker there is no answer at all."""
        for _, _, status, text, again in self.answers:
            if status not in (200, 202, None) and (status != 503 or not (again or "").isdigit()):
                raise Failed(f"{self.instance} was refused with {status}, Retry-After {again}: {text}")

    def _ask(self):
        body = {"service_id": SERVICE, "plan_id": PLAN, "organization_guid": "org", "space_guid": "space",
                "parameters": self.parameters}
        while not self.ended.is_set():
            at = time.monotonic()
            try:
                status, headers, answer = self.platform.osb(
                    "PUT", self.platform.instance_path(self.instance), body, {"accepts_incomplete": "true"})
                again = headers.get("Retry-After")
            except OSError as error:
                status, answer, again = None, str(error), None
            text = answer.get("description", "") if isinstance(answer, dict) else str(answer)
            self.answers.append((at, time.monotonic() - at, status, text, again))
            if status in (200, 202):
                self.taken_at = time.monotonic()
                return
            self.ended.wait(self.PAUSE)
