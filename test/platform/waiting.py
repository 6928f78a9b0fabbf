"""Waiting for what shall happen, and for no longer than it may take."""

import time

# In seconds. What takes longer has failed: nothing waits for this to pass, and a machine that does
# much else is slow.
PATIENCE = 400
# Then what was asked to end is killed: when a platform is put away, and when the end itself is judged.
STOP_DEADLINE = 15
END_DEADLINE = 60
# How long a condition rests between two looks: the longer it was waited for, the longer, or looking
# would take the time that what is waited for needs.
SHORTEST_REST, LONGEST_REST = 0.05, 0.5


class Failed(AssertionError):
    """Something did not happen that should have, in words."""


def rest(begun):
    """Between two looks at what has been waited for since then."""
    time.sleep(min(max((time.monotonic() - begun) / 20, SHORTEST_REST), LONGEST_REST))


def wait_until(condition, what, deadline=PATIENCE):
    """Calls condition() until it gives something true, and returns that. `what` is waited for."""
    begun = time.monotonic()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() - begun > deadline:
            raise Failed(f"waited {deadline} s in vain for {what() if callable(what) else what}")
        rest(begun)
