"""Draws the pictures of the documentation: a demonstration's report, and the architecture.

    python docs/make_pictures.py demo           runs the demonstration: two minutes
    python docs/make_pictures.py architecture   at once

Pictures are checked in, so nobody needs this to read the pages. They name no host: fonts are those
of the reader's machine.
"""

import argparse
import math
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console

from streams.demo.live import LiveView
from streams.demo.run import run_demo
from streams.demo.verdict import print_report
from streams.monitoring.logs import configure_logs
from streams.simulate.report import passed

FOLDER = Path(__file__).resolve().parent / "img"
COMMAND = "spanloom demo --seconds 60 --seed 1"


def demo() -> int:
    """Run the demonstration and draw its incidents and its report; progress lines are left out."""
    configure_logs("ERROR")
    console = Console(record=True, width=150, force_terminal=True, color_system="truecolor")
    view = LiveView(plain=True)
    view.console = console
    view._line_at = math.inf
    with view:
        report = run_demo(60.0, 1, "seed", view.show)
    print_report(report, console)
    if not passed(report):
        return 1  # a picture of a failed run would say the wrong thing
    svg = console.export_svg(title=COMMAND)
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)  # they point to somebody's server
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    (FOLDER / "demo.svg").write_text(svg.rstrip() + "\n", encoding="utf-8")
    return 0


# --- the architecture ------------------------------------------------------------------------------

WIDTH, HEIGHT = 1080, 560
STYLES = {
    "topic": ("#e8f1fb", "#2f6fb3"),
    "task": ("#e9f6ec", "#2e8b4f"),
    "other": ("#f6f1e4", "#9a7b2d"),
}
BOXES = {  # name: (x, y, width, height, style, lines)
    "modules": (14, 210, 142, 70, "other", ["modules", "one span per stage"]),
    "telemetry": (
        190, 190, 190, 110, "topic",
        ["telemetry.<module>.v1", "telemetry.other.v1", "N partitions, key: trace id"],
    ),
    "join": (430, 170, 170, 150, "task", ["join task", "one per partition", "", "join, close,", "judge, count"]),
    "traces": (660, 40, 190, 46, "topic", ["traces.assembled.v1"]),
    "rejected": (660, 104, 190, 46, "topic", ["telemetry.rejected.v1"]),
    "partials": (660, 200, 190, 46, "topic", ["fidelity.partials.v1"]),
    "fragments": (660, 330, 190, 46, "topic", ["traces.fragments.v1"]),
    "fragment": (660, 424, 190, 60, "task", ["fragment task", "one per partition"]),
    "fidelity": (900, 180, 150, 86, "task", ["fidelity task", "one", "merge, alert"]),
    "stats": (890, 60, 170, 46, "topic", ["fidelity.stats.v1"]),
    "alerts": (890, 320, 170, 46, "topic", ["alerts.raised.v1"]),
    "incident": (900, 400, 150, 60, "task", ["incident task", "one"]),
    "incidents": (890, 494, 170, 46, "topic", ["incidents.events.v1"]),
}  # fmt: skip
ARROWS = [  # points from box border to box border
    [(156, 245), (190, 245)],
    [(380, 245), (430, 245)],
    [(600, 190), (630, 190), (630, 63), (660, 63)],
    [(600, 210), (640, 210), (640, 127), (660, 127)],
    [(600, 223), (660, 223)],
    [(600, 290), (630, 290), (630, 353), (660, 353)],
    [(755, 376), (755, 424)],
    [(850, 454), (870, 454), (870, 288), (755, 288), (755, 246)],
    [(850, 223), (900, 223)],
    [(975, 180), (975, 106)],
    [(975, 266), (975, 320)],
    [(975, 366), (975, 400)],
    [(975, 460), (975, 494)],
]
LEGEND = [
    ("topic", "a Kafka topic"),
    ("task", "a task of the worker: state, outputs and position in one transaction"),
    ("other", "outside"),
]


def architecture() -> int:
    """Draw processes, topics and tasks."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 60}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="13" role="img" '
        'aria-label="How telemetry flows through the worker">',
        '<defs><marker id="head" markerWidth="9" markerHeight="9" refX="8" refY="4.5" '
        'orient="auto"><path d="M0,0 L9,4.5 L0,9 z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT + 60}" fill="#ffffff"/>',
    ]
    parts += [_arrow(points) for points in ARROWS]
    parts += [_box(*box) for box in BOXES.values()]
    x = 20
    for style, text in LEGEND:
        fill, line = STYLES[style]
        y = HEIGHT + 22
        parts.append(
            f'<rect x="{x}" y="{y}" width="16" height="16" rx="3" fill="{fill}" stroke="{line}"/>'
            f'<text x="{x + 24}" y="{y + 13}" fill="#333">{escape(text)}</text>'
        )
        x += 60 + 7 * len(text)
    parts.append("</svg>")
    (FOLDER / "architecture.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return 0


def _box(x: int, y: int, width: int, height: int, style: str, lines: list[str]) -> str:
    fill, line = STYLES[style]
    out = [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" '
        f'stroke="{line}" stroke-width="1.5"/>'
    ]
    top = y + height / 2 - 9 * (len(lines) - 1) + 4
    for at, text in enumerate(lines):
        weight = ' font-weight="bold"' if at == 0 else ""
        out.append(
            f'<text x="{x + width / 2:g}" y="{top + 18 * at:g}" text-anchor="middle"{weight} '
            f'fill="#222">{escape(text)}</text>'
        )
    return "".join(out)


def _arrow(points: list[tuple[int, int]]) -> str:
    way = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{way}" fill="none" stroke="#555" stroke-width="1.5" marker-end="url(#head)"/>'


if __name__ == "__main__":
    pictures = {"demo": demo, "architecture": architecture}
    parser = argparse.ArgumentParser(description="Draws the pictures of the documentation.")
    parser.add_argument("picture", choices=pictures)
    FOLDER.mkdir(exist_ok=True)
    sys.exit(pictures[parser.parse_args().picture]())
