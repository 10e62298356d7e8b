"""Draws the pictures of the documentation: a demonstration's report, the page, the architecture.

    python docs/make_pictures.py demo           runs the demonstration: two minutes
    python docs/make_pictures.py page           the console's views, with Chromium: five minutes
    python docs/make_pictures.py architecture   at once

Pictures are checked in, so nobody needs this to read the pages. They name no host: fonts are those
of the reader's machine.
"""

import argparse
import math
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from xml.sax.saxutils import escape

from playwright.sync_api import sync_playwright
from rich.console import Console

from streams.cli.demo_verdict import print_report
from streams.contract.loader import load_contract
from streams.demo.live import LiveView
from streams.demo.run import Sender, run_demo
from streams.monitoring.logs import configure_logs
from streams.simulate.faults import ACKNOWLEDGMENTS_LOST, CONTEXT_DROPPED, SLOW_ENRICHMENT, Fault
from streams.simulate.pipeline import Simulation
from streams.simulate.report import passed
from streams.units import SECOND_US
from tests.fault.broker import BrokerNode
from tests.fault.console import ConsoleAt
from tests.fault.harness import Deployment

FOLDER = Path(__file__).resolve().parent / "images"
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


# --- the page -------------------------------------------------------------------------------------

PAGE_FOLDER = FOLDER.parent / "images"
RECORDS_PER_SECOND = 15.0
CALM_SECONDS, LASTS_SECONDS, AFTER_SECONDS = 200.0, 60.0, 15.0
"""What is usual is known after some minutes; the picture is of a pipeline in trouble."""
PAGE_SETTINGS = {
    "window_seconds": 2, "burn_short_seconds": 10, "burn_long_seconds": 60,
    "quiet_seconds": 300, "warm_up_seconds": 2, "incident_update_seconds": 1,
}  # fmt: skip
TALLEST = 1_400


def page() -> int:
    """Let a pipeline lose acknowledgments and context, with a slow source, and look at it."""
    node = BrokerNode()
    with ExitStack() as stack:
        stack.callback(node.forget)
        node.start_fresh()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deployment = Deployment(node.address, folder, "pictures", contract="seed")
        stack.callback(deployment.end)
        deployment.create_topics()
        worker = deployment.worker(settings=PAGE_SETTINGS)
        at = ConsoleAt(deployment)
        console = at.start("--contract", "seed")
        worker.wait_until_restored(1, "incidents", 120)
        at.wait_until_ready(console)
        start_us = time.time_ns() // 1_000
        sender = Sender(
            Simulation(
                load_contract("seed"), 5, start_us, 3_600, RECORDS_PER_SECOND, _troubles(start_us)
            ),
            deployment.broker,
        )
        sender.start()
        stack.callback(sender.stopped.set)
        time.sleep(CALM_SECONDS + LASTS_SECONDS + AFTER_SECONDS)
        _look(at)
    return 0


def _troubles(start_us: int) -> list[Fault]:
    begin_us = start_us + int(CALM_SECONDS * SECOND_US)
    end_us = begin_us + int((LASTS_SECONDS + AFTER_SECONDS) * SECOND_US)
    lost = "delivery>acknowledgment", "buffer>transfer_alpha_beta"
    return [
        Fault(ACKNOWLEDGMENTS_LOST, lost[0], begin_us, end_us, share=0.15),
        Fault(CONTEXT_DROPPED, lost[1], begin_us, end_us, share=0.06),
        Fault(
            SLOW_ENRICHMENT, "BETA", begin_us, end_us,
            dimension="enrichment_source", value="price_list",
        ),
    ]  # fmt: skip


def _look(at: ConsoleAt) -> None:
    """Take the pictures: what is broken now, a trace that is not whole, the gravest incident."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    incidents = at.get("/api/v1/incidents")["incidents"]
    gravest = next(one for one in incidents if "acknowledgment" in one["title"].lower())
    asked = "/api/v1/traces?start=2000-01-01&end=2100-01-01&limit=1&missing_stage=acknowledgment"
    (lossy,) = at.get(asked)["traces"]
    views = {
        "now": "/",
        "trace": f"/traces/{lossy['trace_id']}",
        "incident": f"/incidents/{gravest['incident_id']}",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for name, path in views.items():
            shown = browser.new_page(
                base_url=f"http://127.0.0.1:{at.port}",
                viewport={"width": 1280, "height": 880},
                color_scheme="dark",
            )
            shown.goto(path)
            shown.wait_for_timeout(15_000)  # what is told every ten seconds has come
            # A view scrolls in itself: a window as high as what is in it shows all.
            height = shown.evaluate("document.documentElement.scrollHeight")
            shown.set_viewport_size({"width": 1280, "height": min(TALLEST, max(600, height))})
            shown.wait_for_timeout(1_000)
            shown.screenshot(path=PAGE_FOLDER / f"{name}.png")
        browser.close()


# --- the architecture ------------------------------------------------------------------------------

WIDTH, HEIGHT = 1490, 540
STYLES = {
    "topic": ("#e8f1fb", "#2f6fb3"),
    "task": ("#e9f6ec", "#2e8b4f"),
    "other": ("#f6f1e4", "#9a7b2d"),
}
BOXES = {  # name: (x, y, width, height, style, lines)
    "modules": (14, 210, 142, 70, "other", ["modules", "spans, metrics, logs"]),
    "telemetry": (
        190, 190, 190, 110, "topic",
        ["telemetry.<module>.v1", "telemetry.other.v1", "N partitions, key: trace id"],
    ),
    "join": (430, 140, 170, 210, "task", ["join task", "one per partition", "", "join, close,", "judge, count"]),
    "traces": (660, 20, 190, 46, "topic", ["traces.assembled.v1"]),
    "rejected": (660, 80, 190, 46, "topic", ["telemetry.rejected.v1"]),
    "partials": (660, 147, 190, 46, "topic", ["fidelity.partials.v1"]),
    "signals": (660, 226, 190, 46, "topic", ["signals.partials.v1"]),
    "inputs": (660, 305, 190, 46, "topic", ["causes.inputs.v1"]),
    "fragments": (660, 384, 190, 46, "topic", ["traces.fragments.v1"]),
    "fragment": (660, 460, 190, 60, "task", ["fragment task", "one per partition"]),
    "fidelity": (900, 138, 150, 64, "task", ["fidelity task", "windows, burn rates"]),
    "rules": (900, 217, 150, 64, "task", ["signals task", "rules of the contract"]),
    "causes": (900, 296, 150, 64, "task", ["causes task", "what is unusual"]),
    "stats": (1100, 60, 170, 46, "topic", ["fidelity.stats.v1"]),
    "alerts": (1100, 188, 170, 46, "topic", ["alerts.raised.v1"]),
    "evidence": (1100, 305, 170, 46, "topic", ["causes.evidence.v1"]),
    "commands": (1090, 420, 190, 46, "topic", ["incidents.commands.v1"]),
    "outside": (1310, 20, 170, 46, "topic", ["alerts.external.v1"]),
    "external": (1320, 100, 150, 50, "task", ["external task"]),
    "incident": (1320, 230, 150, 100, "task", ["incident task", "group, rank,", "tell what is news"]),
    "incidents": (1310, 420, 170, 46, "topic", ["incidents.events.v1"]),
}  # fmt: skip
ARROWS = [  # points from box border to box border
    [(156, 245), (190, 245)],
    [(380, 245), (430, 245)],
    [(600, 155), (625, 155), (625, 43), (660, 43)],
    [(600, 175), (640, 175), (640, 103), (660, 103)],
    [(600, 190), (650, 190), (650, 170), (660, 170)],
    [(600, 249), (660, 249)],
    [(600, 310), (640, 310), (640, 328), (660, 328)],
    [(600, 335), (625, 335), (625, 407), (660, 407)],
    [(755, 430), (755, 460)],
    [(850, 490), (884, 490), (884, 184), (850, 184)],
    [(850, 163), (900, 163)],
    [(850, 249), (900, 249)],
    [(900, 270), (870, 270), (870, 318), (850, 318)],
    [(850, 335), (900, 335)],
    [(975, 138), (975, 83), (1100, 83)],
    [(1050, 170), (1075, 170), (1075, 203), (1100, 203)],
    [(1050, 249), (1075, 249), (1075, 219), (1100, 219)],
    [(1050, 328), (1100, 328)],
    [(1395, 66), (1395, 100)],
    [(1320, 125), (1185, 125), (1185, 188)],
    [(1270, 211), (1295, 211), (1295, 255), (1320, 255)],
    [(1270, 328), (1295, 328), (1295, 300), (1320, 300)],
    [(1185, 420), (1185, 385), (1360, 385), (1360, 330)],
    [(1420, 330), (1420, 420)],
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
    pictures = {"demo": demo, "page": page, "architecture": architecture}
    parser = argparse.ArgumentParser(description="Draws the pictures of the documentation.")
    parser.add_argument("picture", choices=pictures)
    FOLDER.mkdir(exist_ok=True)
    sys.exit(pictures[parser.parse_args().picture]())
