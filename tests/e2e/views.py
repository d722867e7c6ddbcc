"""The one place that knows the field names of lbd's JSON output; tests use these plain rows."""
import datetime


def _rows(value, needed):
    """Every dict, at any depth and in order, that has all the keys of `needed`."""
    if isinstance(value, dict):
        if all(key in value for key in needed):
            yield value
            return
        for item in value.values():
            yield from _rows(item, needed)
    elif isinstance(value, list):
        for item in value:
            yield from _rows(item, needed)


def targets_of(answer, group=""):
    """`lbd targets --output json`: rows with address, state, zone, in_flight,
    reason, target_group."""
    rows = list(_rows(answer, ("address", "state")))
    return [row for row in rows if not group or row.get("target_group") == group]


def instances_of(answer):
    """`lbd scale status --output json`: rows with id, state, zone, address (host:port)."""
    return list(_rows(answer, ("id", "state", "zone")))


def group_of(answer, name):
    """The row of one scaling group: name, min, max, desired, instances."""
    return next(row for row in _rows(answer, ("name", "desired")) if row["name"] == name)


def decisions_of(answer):
    """`lbd scale history --output json`: rows with at (RFC 3339), sentence; oldest first."""
    return sorted(_rows(answer, ("at", "sentence")), key=lambda row: row["at"])


def event_of(row):
    """A decision that did something, as {time: Unix seconds, action}; None for a non-decision.

    Assumes `action` is launch, terminate, drain, undrain, replace … and `none` when nothing was
    done, and that `at` is RFC 3339 (or Unix seconds).
    """
    action = row.get("action", "act")
    if action in ("none", "hold", ""):
        return None
    at = row["at"]
    if isinstance(at, str):
        at = datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
    return {"time": at, "action": action}
