"""Expectations and waiting, with deadlines."""
import os
import time


class Failed(AssertionError):
    """A test's expectation did not hold."""


def check(condition, message):
    if not condition:
        raise Failed(message() if callable(message) else message)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: {actual!r}, expected {expected!r}")


def wait_until(predicate, deadline, why):
    """Polls until predicate() is truthy and returns that; Failed with `why` after `deadline` s.

    `why` may be a callable, asked when time is up. The deadline stretches by LBD_SLOW (sanitizers).
    """
    end = time.monotonic() + deadline * slowness()
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"after {deadline} s: {why() if callable(why) else why}")
        time.sleep(0.02)


def slowness():
    """How much slower than a plain build this one is: deadlines, never assertions, use it."""
    return float(os.environ.get("LBD_SLOW", "1"))
