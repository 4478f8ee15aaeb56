# SPDX-License-Identifier: MIT
"""Draws the results of run.py as an SVG: no library, and readable on light and dark pages.

One row of bars for each reference, two (cold, warm) for each program; a bar ends at p50, the whisker
behind it at p99, on a logarithmic axis of time. Programs without a target have their names in regular type.
"""
import math
from xml.sax.saxutils import escape

WIDTH = 940
LEFT, RIGHT = 216, 210  # room for the names and for the figures, in pixels
TOP, BOTTOM = 94, 52
BAR, GAP, GROUP_GAP = 15, 3, 15

STYLE = """
    text { font: 13px -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif; fill: #57606a; }
    .title { font-size: 17px; font-weight: 600; fill: #1f2328; }
    .name { font-weight: 600; fill: #1f2328; }
    .more { fill: #1f2328; }
    .note { font-size: 11.5px; }
    .value { font-size: 12px; }
    .times { font-size: 15px; font-weight: 700; fill: #bc4c00; }
    .grid { stroke: #afb8c1; stroke-opacity: .55; stroke-width: 1; }
    .cold { fill: #8c959f; }
    .warm { fill: #e8590c; }
    .reference { fill: #4f94d4; }
    .whisker { stroke: #57606a; stroke-width: 1.5; }
    .edge { stroke: #57606a; stroke-width: 1; stroke-dasharray: 4 3; stroke-opacity: .8; }
    @media (prefers-color-scheme: dark) {
        text { fill: #a5b0bb; }
        .title, .name, .more { fill: #e6edf3; }
        .times { fill: #ff9a52; }
        .grid { stroke: #6e7681; }
        .cold { fill: #7d8590; }
        .warm { fill: #f76707; }
        .reference { fill: #5ba3e6; }
        .whisker, .edge { stroke: #c9d1d9; }
    }
"""


def duration(us):
    """Three digits at most, in the unit a person would use."""
    for limit, divisor, unit in ((999.5, 1, "µs"), (999.5e3, 1e3, "ms"), (math.inf, 1e6, "s")):
        if us < limit:
            value = us / divisor
            exact = value >= 99.5 or unit == "µs" or value == int(value)
            return f"{value:.{0 if exact else 1}f} {unit}"
    raise AssertionError


def times(ratio):
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def measured(entry):
    return bool(entry) and entry["p50_us"] > 0


class Axis:
    def __init__(self, values):
        self.low = math.floor(math.log10(min(values) * 0.85) * 3) / 3  # bars need some length at the left
        self.high = math.log10(max(values) * 1.05)

    def x(self, us):
        span = WIDTH - LEFT - RIGHT
        return LEFT + span * max(0.0, (math.log10(us) - self.low) / (self.high - self.low))

    def ticks(self):
        decade = math.ceil(self.low - 1e-9)
        while decade <= self.high:
            yield 10 ** decade
            decade += 1


def bar(out, axis, y, kind, entry, label):
    x50, x99 = axis.x(entry["p50_us"]), axis.x(entry["p99_us"])
    middle = y + BAR / 2
    out.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{max(2, x50 - LEFT):.1f}" height="{BAR}" rx="2"/>')
    if x99 - x50 > 1:
        out.append(f'<line class="whisker" x1="{x50:.1f}" y1="{middle}" x2="{x99:.1f}" y2="{middle}"/>')
    out.append(f'<line class="whisker" x1="{x99:.1f}" y1="{y + 3}" x2="{x99:.1f}" y2="{y + BAR - 3}"/>')
    out.append(f'<text class="value" x="{x99 + 7:.1f}" y="{middle + 4.5}">{escape(label)}</text>')


def draw(result):
    """The SVG as a string. result is what run.py writes to launch.json."""
    references = result["references"]
    # an entry without one right run has no median to draw
    programs = [p for p in result["programs"] if measured(p["cold"])]
    warm = any(measured(p["warm"]) for p in programs)
    rows = list(references.values()) + [p[k] for p in programs for k in ("cold", "warm") if measured(p[k])]
    axis = Axis([r["p50_us"] for r in rows] + [r["p99_us"] for r in rows])

    body, y = [], TOP
    for name, entry in references.items():
        bar(body, axis, y, "reference", entry, duration(entry["p50_us"]))
        body.append(f'<text class="name" x="{LEFT - 12}" y="{y + BAR - 3}" text-anchor="end">{escape(name)}</text>')
        y += BAR + 6
    y += GROUP_GAP - 6
    for p in programs:
        start = y
        bar(body, axis, y, "cold", p["cold"], f'cold  {duration(p["cold"]["p50_us"])}')
        y += BAR + GAP
        if measured(p["warm"]):
            bar(body, axis, y, "warm", p["warm"], f'warm  {duration(p["warm"]["p50_us"])}')
            y += BAR + GAP
            body.append(f'<text class="times" x="{WIDTH - 18}" y="{(start + y) / 2 + 4}" text-anchor="end">'
                        f'{times(p["cold"]["p50_us"] / p["warm"]["p50_us"])} faster</text>')
        kind = "name" if p["target"] else "more"
        body.append(f'<text class="{kind}" x="{LEFT - 12}" y="{(start + y) / 2 + 3}" text-anchor="end">'
                    f'{escape(p["label"])}</text>')
        y += GROUP_GAP
    bottom = y - GROUP_GAP + 6
    height = bottom + BOTTOM

    title = "Starting a program: cold, and from a warm template" if warm else "Starting a program cold"
    machine = result["machine"]
    where = f'{machine["cpu"]}, {machine["cores"]} cores, Linux {machine["kernel"]}'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="18" y="28">{escape(title)}</text>',
        '<text class="note" x="18" y="48">whole process, from spawn until it is reaped and its output read; '
        'bar: median, whisker: 99th percentile; logarithmic</text>',
    ]
    if any(not p["target"] for p in programs):
        head.append('<text class="note" x="18" y="64">regular type: scripts with more work of their own after the imports; '
                    'they have no target</text>')
    for tick in axis.ticks():
        x = axis.x(tick)
        head.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{bottom}"/>')
        head.append(f'<text class="note" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{duration(tick)}</text>')
    true = axis.x(references["/bin/true"]["p50_us"])
    head.append(f'<line class="edge" x1="{true:.1f}" y1="{TOP + 2 * BAR + 6}" x2="{true:.1f}" y2="{bottom}"/>')
    foot = [f'<text class="note" x="18" y="{height - 12}">{escape(where)}</text>', "</svg>", ""]
    return "\n".join(head + body + foot)
