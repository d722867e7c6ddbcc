"""The demo's timeline as an SVG: load and CPU above, instances per zone below, events as pins."""
from xml.sax.saxutils import escape

from views import event_of

WIDTH, LEFT, RIGHT = 1100, 60, 60
TOP, UPPER, GAP, LOWER = 60, 210, 50, 140  # heights of the two panels and the space between
COLOURS = {"a": "#2b6cb0", "b": "#2f855a", "c": "#b7791f"}
RPS, CPU, INK, GRID = "#718096", "#c53030", "#1a202c", "#e2e8f0"


class Panel:
    """Maps (seconds, value) to pixels."""

    def __init__(self, top, height, seconds, maximum):
        self.top, self.height, self.maximum = top, height, maximum
        self.scale = (WIDTH - LEFT - RIGHT) / max(seconds, 1)

    def x(self, t):
        return round(LEFT + t * self.scale, 1)

    def y(self, value):
        return round(self.top + self.height * (1 - min(value / self.maximum, 1)), 1)

    def line(self, points, colour, width=1.6):
        path = " ".join(f"{self.x(t)},{self.y(v)}" for t, v in points)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(x, y, words, **more):
    style = {"fill": INK, "font_size": 12, **more}
    fields = " ".join(f'{k.replace("_", "-")}="{v}"' for k, v in style.items())
    return f'<text x="{x}" y="{y}" {fields}>{escape(words)}</text>'


def rule(panel, value, label, colour=GRID, dash=""):
    y = panel.y(value)
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{colour}"'
    return [
        line + (f' stroke-dasharray="{dash}"/>' if dash else "/>"),
        text(LEFT - 8, y + 4, label, text_anchor="end", font_size=11),
    ]


def stacked(panel, samples):
    """Instances in service per zone, as steps on top of each other."""
    parts, base = [], [0] * len(samples)
    for zone, colour in COLOURS.items():
        upper = [b + s["zones"].get(zone, 0) for b, s in zip(base, samples)]
        outline = steps(samples, upper) + steps(samples, base)[::-1]
        path = " ".join(f"{panel.x(t)},{panel.y(v)}" for t, v in outline)
        parts.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.75"/>')
        base = upper
    return parts


def steps(samples, values):
    points = []
    for sample, value in zip(samples, values):
        if points:
            points.append((sample["t"], points[-1][1]))
        points.append((sample["t"], value))
    return points


def pins(panel, events, bottom):
    """One pin per moment: events closer than a pin is wide share it, as "2–4"."""
    clusters = []  # [x, first number, last number]
    for number, (t, _) in enumerate(events, 1):
        x = panel.x(t)
        if clusters and x - clusters[-1][0] < 34:
            clusters[-1][2] = number
        else:
            clusters.append([x, number, number])
    parts = []
    for x, first, last in clusters:
        label = str(first) if first == last else f"{first}–{last}"
        half = 5 + 3.5 * len(label)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{TOP - 20}" y2="{bottom}" stroke="{INK}" '
            'stroke-opacity="0.3" stroke-dasharray="2 3"/>'
            f'<rect x="{x - half}" y="{TOP - 38}" width="{2 * half}" height="18" rx="9" '
            f'fill="{INK}"/>'
        )
        parts.append(text(x, TOP - 25, label, fill="#fff", font_size=11, text_anchor="middle"))
    return parts


def wrapped(sentence, width=150):
    lines, words = [""], sentence.split()
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def legend(events, top):
    parts, y = [], top
    for number, (t, sentence) in enumerate(events, 1):
        for index, words in enumerate(wrapped(sentence)):
            lead = f"{number:>2}  {t:5.1f} s" if index == 0 else ""
            parts.append(text(LEFT, y, lead, font_family="monospace", font_size=11))
            parts.append(text(LEFT + 85, y, words, font_size=11))
            y += 16
    return parts, y


def timeline_svg(observer):
    """`observer` has samples, events, killed and wall_start; see demo.py."""
    samples = observer.samples
    seconds = samples[-1]["t"]
    top_rps = max(s["rps"] for s in samples) * 1.1 or 1
    load = Panel(TOP, UPPER, seconds, top_rps)
    cpu = Panel(TOP, UPPER, seconds, 1.1)
    fleet = Panel(TOP + UPPER + GAP, LOWER, seconds, 5.5)
    bottom = fleet.top + LOWER
    events = [(event_of(e)["time"] - observer.wall_start, e["sentence"]) for e in observer.events]
    events = [(t, sentence) for t, sentence in events if t >= 0]
    if observer.killed:
        events.append((observer.killed[0], f"every process of zone {observer.killed[1]} is killed"))
    events.sort()
    parts = []
    for share, label in ((0, "0 %"), (0.5, "50 %"), (0.9, "90 %")):
        parts += rule(cpu, share, label, CPU if share else GRID, "4 4" if share else "")
    parts.append(load.line([(s["t"], s["rps"]) for s in samples], RPS))
    parts.append(cpu.line([(s["t"], s["cpu"]) for s in samples], CPU, 2))
    for count in (0, 3, 5):
        parts += rule(fleet, count, str(count))
    parts += stacked(fleet, samples)
    for t in range(0, int(seconds) + 1, 15):
        parts.append(text(fleet.x(t), bottom + 18, f"{t} s", text_anchor="middle", font_size=11))
    parts += pins(load, events, bottom)
    key = [(CPU, "CPU, mean of the instances"), (RPS, f"requests/s (top {top_rps / 1.1:.0f})")]
    key += [(colour, f"zone {zone}") for zone, colour in COLOURS.items()]
    for index, (colour, words) in enumerate(key):
        x, y = LEFT + index * 205, TOP + UPPER + 26
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(text(x + 18, y, words))
    rows, end = legend(events, bottom + 48)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end + 10}" '
        'font-family="sans-serif" role="img" aria-label="load, CPU and instances over time">'
        '<rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join([head, *parts, *rows, "</svg>"]) + "\n"
