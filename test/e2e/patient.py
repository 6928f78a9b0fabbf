"""Does what a platform does if a broker dies during its requests: asks again until it gets an answer."""

import http.client
import json
import threading
import time

import psycopg2

from layout import SERVICE
from waiting import Failed

# How long a request without an answer, or with a 503, is repeated, in seconds: the broker, etcd or
# a cell may have to come back first, on a machine with other load.
PATIENCE = 180
# How long an operation may take, in seconds: the plans' maximum_polling_duration.
OPERATION_PATIENCE = 600
# The pause between two polls and two attempts, in seconds.
PAUSE = 0.25

# The errors that a client gets when its server is killed.
CUT_OFF = (OSError, http.client.HTTPException, psycopg2.Error)


class Ended(Exception):
    """Another thread found an error: there is no need to go on."""


class Patient:
    """Asks one broker on behalf of one instance. `ended` is an Event that stops all waiting."""

    def __init__(self, platform, instance, ended=None):
        self.platform, self.instance = platform, instance
        self.ended = ended or threading.Event()
        self.repeated = 0  # how many requests had to be sent again

    @property
    def path(self):
        return self.platform.instance_path(self.instance)

    def pause(self, seconds=PAUSE):
        if self.ended.wait(seconds):
            raise Ended

    def ask(self, method, path, body=None, params=None, patience=PATIENCE):
        """The first answer other than 503: (status, JSON)."""
        end = time.monotonic() + patience
        while True:
            try:
                status, _, answer = self.platform.osb(method, path, body, params)
                said = f"{status} {answer}"
                if status != 503:
                    return status, answer
            except CUT_OFF as error:
                said = f"{type(error).__name__}: {error}"
            if time.monotonic() > end:
                raise Failed(f"{method} {path} got no answer in {patience} s; the last was {said}")
            self.repeated += 1
            self.pause()

    def eventually(self, check, what, patience=PATIENCE):
        """Repeats a check until it holds: parts of the platform may be away at first."""
        end = time.monotonic() + patience
        while True:
            try:
                return check()
            except psycopg2.ProgrammingError:
                raise  # the server understood the statement, and it is wrong
            except (Failed, KeyError, TypeError, *CUT_OFF) as error:
                if time.monotonic() > end:
                    raise Failed(f"{what}, for {patience} s: {type(error).__name__}: {error}") from error
            self.pause()

    def operate(self, method, body=None, params=None):
        """Begins an operation and polls to its end: (state, description). The state is `gone` at the
        end of a deprovision."""
        path, asynchronous = self.path, {"accepts_incomplete": "true", **(params or {})}
        end = time.monotonic() + OPERATION_PATIENCE
        while True:
            status, answer = self.ask(method, path, body, asynchronous)
            if status in (200, 201):
                return "succeeded", ""
            if status == 202:
                return self.poll()
            if status == 410 and method == "DELETE":
                return "gone", ""
            if status != 422 or answer.get("error") != "ConcurrencyError" or time.monotonic() > end:
                raise Failed(f"{method} {path} {json.dumps(body)} was answered {status}: {answer}")
            self.poll()

    def poll(self):
        """Polls last_operation until the operation has ended: (state, description)."""
        end = time.monotonic() + OPERATION_PATIENCE
        while True:
            status, answer = self.ask("GET", self.path + "/last_operation")
            if status == 410:
                return "gone", ""
            if status != 200:
                raise Failed(f"last_operation of {self.instance} was answered {status}: {answer}")
            if answer["state"] != "in progress":
                if answer["state"] == "failed" and not answer.get("description"):
                    raise Failed(f"an operation of {self.instance} failed without saying why: {answer}")
                return answer["state"], answer.get("description", "")
            if time.monotonic() > end:
                raise Failed(f"{self.instance} was not done in {OPERATION_PATIENCE} s: {answer}")
            self.pause()

    def provision(self, plan, **parameters):
        self.platform.plan_of[self.instance] = plan
        return self.operate("PUT", {
            "service_id": SERVICE, "plan_id": plan, "organization_guid": "org", "space_guid": "space",
            "parameters": {name.replace("_", "-"): value for name, value in parameters.items()}})

    def update(self, plan=None, **parameters):
        body = {"service_id": SERVICE, "parameters": {
            name.replace("_", "-"): value for name, value in parameters.items()}}
        if plan is not None:
            body["plan_id"] = plan
        ended = self.operate("PATCH", body)
        if plan is not None:
            self.platform.plan_of[self.instance] = self.record()["plan_id"]
        return ended

    def deprovision(self):
        return self.operate("DELETE", None, self.platform.ids_of(self.instance))

    def bind(self, binding):
        """The credentials of a binding."""
        status, answer = self.ask("PUT", self.platform.binding_path(self.instance, binding),
                                  self.platform.ids_of(self.instance))
        if status not in (200, 201):
            raise Failed(f"the bind {binding} of {self.instance} was answered {status}: {answer}")
        return answer["credentials"]

    def unbind(self, binding):
        status, answer = self.ask("DELETE", self.platform.binding_path(self.instance, binding), None,
                                  self.platform.ids_of(self.instance))
        if status not in (200, 410):
            raise Failed(f"the unbind {binding} of {self.instance} was answered {status}: {answer}")

    def record(self):
        """The instance's record, as soon as etcd can be asked."""
        return self.eventually(lambda: self.platform.record(self.instance), "no record can be read")
