"""The one place that knows the field names of lbd's JSON output; tests use these plain rows."""


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
