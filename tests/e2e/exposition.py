"""What promtool does not notice in a Prometheus text exposition (version 0.0.4)."""
import re

LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(.*)\})? (\S+)( -?\d+)?$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)')
SUFFIXES = ("_bucket", "_sum", "_count")


def family_of(name, types):
    if name in types:
        return name
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and types.get(base) in ("histogram", "summary"):
            return base
    return name


def problems(text):
    """Sentences, none when clean: duplicate series, HELP/TYPE missing, twice or late, a family in
    two places, lines that do not parse, counters without _total, histograms without +Inf."""
    found, helps, types, series, order = [], {}, {}, set(), []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("# HELP ", "# TYPE ")):
            _, kind, name, *rest = line.split(" ", 3)
            table = helps if kind == "HELP" else types
            if name in table:
                found.append(f"line {number}: {kind} of {name} twice")
            table[name] = rest[0] if rest else ""
            continue
        if not line or line.startswith("#"):
            continue
        match = LINE.match(line)
        if not match:
            found.append(f"line {number}: not a sample: {line}")
            continue
        labels = LABEL.findall(match[3] or "")
        if sum(len(n) + len(v) + 4 for n, v in labels) < len(match[3] or ""):
            found.append(f"line {number}: labels do not parse: {line}")
        if len({n for n, _ in labels}) != len(labels):
            found.append(f"line {number}: a label twice: {line}")
        key = (match[1], tuple(sorted(labels)))
        if key in series:
            found.append(f"line {number}: series twice: {line}")
        series.add(key)
        family = family_of(match[1], types)
        if family not in types or family not in helps:
            found.append(f"line {number}: {family} has no HELP and TYPE before it")
        if not order or order[-1] != family:
            order.append(family)
    found += [f"{name} stands in two places" for name in set(order) if order.count(name) > 1]
    found += [f"counter {n} does not end in _total" for n, kind in types.items()
              if kind == "counter" and not n.endswith("_total")]
    for name in (n for n, kind in types.items() if kind == "histogram"):
        if not any(k == f"{name}_bucket" and ("le", "+Inf") in v for k, v in series):
            found.append(f"histogram {name} has no +Inf bucket")
    return found
