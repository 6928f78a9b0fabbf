"""Waiting for conditions, with a limit."""

import time

# In seconds. What takes longer has failed: no test waits for this time to pass, and a machine with
# other load is slow.
PATIENCE = 400
# In seconds. After this a program that was asked to end is killed: when a platform is stopped, and
# when the end itself is tested.
STOP_DEADLINE = 15
END_DEADLINE = 60
# The pause between two looks at a condition. It grows with the time waited so far, for frequent
# looks would take the processor time that the awaited work needs.
SHORTEST_REST, LONGEST_REST = 0.05, 0.5


class Failed(AssertionError):
    """An expected event did not happen; the text says which."""


def rest(begun):
    """Sleeps between two looks, longer the longer the condition has been waited for."""
    time.sleep(min(max((time.monotonic() - begun) / 20, SHORTEST_REST), LONGEST_REST))


def wait_until(condition, what, deadline=PATIENCE):
    """Calls condition() until it returns something true, and returns that. `what` names the condition."""
    begun = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() - begun > deadline:
            raise Failed(f"waited {deadline} s in vain for {what() if callable(what) else what}")
        rest(begun)
