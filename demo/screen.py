"""The demo's live view: plain ANSI on a terminal, a line every two seconds elsewhere."""
import os
import shutil
import sys

BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"in_service": 32, "warming": 33, "pending": 33, "launching": 33, "draining": 36,
           "terminating": 35, "lost": 31}


def spark(values, width, top):
    """The last `width` values as bars, `top` is a full one."""
    top = max(top, 1e-9)
    bars = [BARS[min(int(max(v, 0) / top * 8 + 0.5), 8)] for v in values[-width:]]
    return "".join(bars).rjust(width)


class Screen:
    def __init__(self, plain):
        self.live = sys.stdout.isatty() and not plain and os.environ.get("TERM") != "dumb"
        self.colour = self.live and not os.environ.get("NO_COLOR")
        self.printed = 0  # events already told
        self.last_line = -10.0
        self.act = ""

    def paint(self, text, colour):
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour else text

    def show(self, act, observer):
        (self._draw if self.live else self._tell)(act, observer)

    def _tell(self, act, observer):
        now = observer.samples[-1]
        if act != self.act:
            self.act = act
            print(f"-- {act}", flush=True)
        for row in observer.events[self.printed :]:
            print(f"{now['t']:6.1f} s  {row['sentence']}", flush=True)
        self.printed = len(observer.events)
        if now["t"] - self.last_line >= 2:
            self.last_line = now["t"]
            zones = " ".join(f"{z}:{n}" for z, n in sorted(now["zones"].items()))
            text = f"{now['t']:6.1f} s  {now['rps']:6.1f} requests/s  CPU {now['cpu']:4.0%}  "
            text += f"{now['count']} in service ({zones})  {observer.failures} failures"
            print(text, flush=True)

    def _draw(self, act, observer):
        now, width = observer.samples[-1], shutil.get_terminal_size((100, 30)).columns
        bars = max(min(width - 32, 100), 10)
        rps = [s["rps"] for s in observer.samples]
        cpu = [s["cpu"] for s in observer.samples]
        failures = self.paint(str(observer.failures), 31 if observer.failures else 32)
        lines = [
            self.paint(f" lbd demo  {now['t']:5.1f} s   {act}", 1),
            "",
            f" requests/s  {now['rps']:6.1f}  {spark(rps, bars, max(rps))}",
            f" CPU         {now['cpu']:6.0%}  {spark(cpu, bars, 1.0)}",
            f" requests    {len(observer.load.outcomes):6d}  in flight "
            f"{observer.load.in_flight}, failed {failures}",
            "",
        ]
        for zone in ("a", "b", "c"):
            members = [i for i in observer.instances if i["zone"] == zone]
            texts = [
                self.paint(f"■ {i['id'][-8:]} {i['state']}", COLOURS.get(i["state"], 37))
                for i in members
            ]
            lines.append(f" zone {zone}   " + "   ".join(texts))
        lines += ["", " scaling events"]
        lines += [f"  {row['sentence']}"[: width - 1] for row in observer.events[-8:]]
        body = "\x1b[K\n".join(lines)
        start = "\x1b[H" if self.printed else "\x1b[2J\x1b[H"
        sys.stdout.write(f"{start}{body}\x1b[K\n\x1b[J")
        sys.stdout.flush()
        self.printed = 1

    def end(self):
        if self.live:
            print()
