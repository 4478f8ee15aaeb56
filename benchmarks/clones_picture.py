# SPDX-License-Identifier: MIT
"""Draws the latencies of clones.py as an SVG, in the manner of picture.py."""
from xml.sax.saxutils import escape

import picture
from picture import BAR, GROUP_GAP, LEFT, STYLE, WIDTH, duration

TOP, BOTTOM, STEP = 94, 52, BAR + 6
GROUPS = (
    ("reference", ("fork, empty process", "posix_spawn, empty")),
    ("warm", ("parked, C", "fork, C", "fork, C, 16 MiB", "fork, C, 1024 MiB")),
    ("cold", ("plain fork, C, 16 MiB", "plain fork, C, 1024 MiB")),
    ("warm", ("parked, pandas", "fork, pandas")),
    ("cold", ("plain fork, pandas", "os.fork, pandas", "forkserver, pandas", "cold, pandas")),
)


def draw(result):
    """The SVG as a string. result is what clones.py writes to clones.json."""
    entries = {k: e for k, e in result["latency"]["entries"].items() if e["n"]}
    if result.get("criu", {}).get("n"):
        entries["CRIU restore, C"] = result["criu"]
    axis = picture.Axis([e["p50_us"] for e in entries.values()] + [e["p99_us"] for e in entries.values()])
    body, y = [], TOP
    for kind, names in GROUPS:
        for name in names + (("CRIU restore, C",) if names[0].startswith("plain fork, C") else ()):
            if name not in entries:
                continue
            picture.bar(body, axis, y, kind, entries[name], duration(entries[name]["p50_us"]))
            body.append(f'<text class="name" x="{LEFT - 12}" y="{y + BAR - 3}" text-anchor="end">{escape(name)}</text>')
            y += STEP
        y += GROUP_GAP - 6
    bottom, machine = y, result["latency"]["machine"]
    height = bottom + BOTTOM
    title = "Launching a clone: parked, and by fork"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        f'<text class="title" x="18" y="28">{escape(title)}</text>',
        '<text class="note" x="18" y="48">from the call until the first instruction (Python: first bytecode) of what it starts; '
        'bar: median, whisker: 99th percentile; logarithmic</text>']
    for tick in axis.ticks():
        x = axis.x(tick)
        head.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{bottom}"/>')
        head.append(f'<text class="note" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{duration(tick)}</text>')
    floor = axis.x(entries["fork, empty process"]["p50_us"]) if "fork, empty process" in entries else LEFT
    head.append(f'<line class="edge" x1="{floor:.1f}" y1="{TOP + STEP}" x2="{floor:.1f}" y2="{bottom}"/>')
    where = f'{machine["cpu"]}, {machine["cores"]} cores, Linux {machine["kernel"]}'
    foot = [f'<text class="note" x="18" y="{height - 12}">{escape(where)}</text>', "</svg>", ""]
    return "\n".join(head + body + foot)
