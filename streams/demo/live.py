"""The live view of a demonstration: pipeline, fidelity, incidents, accounts, as they happen."""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.demo.run import Scene
from streams.runtime.clock import wall_us
from streams.units import SECOND_US

LINE_SECONDS: Final = 5.0
FIDELITY_WINDOW_US: Final = 10 * SECOND_US
_SEVERITY: Final = {"CRITICAL": "bold red", "ERROR": "red", "WARN": "yellow", "INFO": "cyan"}


class LiveView:
    """Draws a scene: a picture on a terminal, a line every few seconds elsewhere.

    Args:
        plain: lines even on a terminal.
    """

    def __init__(self, *, plain: bool) -> None:
        self.console = Console()
        self._is_live = self.console.is_terminal and not plain
        self._live: Live | None = None
        self._line_at = 0.0
        self._rates: deque[tuple[float, int]] = deque(maxlen=40)
        self._told: set[tuple[str, int]] = set()
        self._page = ""

    def __enter__(self) -> Self:
        """Start drawing."""
        self.console.print(
            "spanloom demo: simulated pipeline -> embedded broker (for demonstration only, "
            "it keeps no promise) -> worker -> incidents",
            highlight=False,
        )
        if self._is_live:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing; the last picture stays."""
        self.end()

    def end(self) -> None:
        """Stop drawing, if that was not done yet."""
        if self._live is not None:
            self._live.stop()

    def show(self, scene: Scene) -> None:
        """Draw the scene as it is now."""
        accounting = scene.worker.accounting()
        self._rates.append((time.monotonic(), accounting.get("accepted", 0)))
        page = scene.page.words()
        if page != self._page:
            self._page = page
            self.console.print(f"  on a page: {page}", markup=False, highlight=False)
        if self._live is not None:
            self._live.update(self._picture(scene, accounting))
            return
        self._tell_incidents(scene)
        if time.monotonic() - self._line_at >= LINE_SECONDS:
            self._line_at = time.monotonic()
            self.console.print(self._line(scene, accounting), highlight=False, soft_wrap=True)

    # --- lines

    def _tell_incidents(self, scene: Scene) -> None:
        for incident in scene.watcher.incidents():
            at = (incident["incident_id"], incident["version"])
            if at not in self._told:
                self._told.add(at)
                self.console.print(
                    f"  incident {incident['incident_id'][:8]} v{incident['version']} "
                    f"{incident['event']:<9} {incident['severity']:<8} {incident['title']}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

    def _line(self, scene: Scene, accounting: Mapping[str, int]) -> str:
        statuses = scene.watcher.statuses()
        return (
            f"{_left(scene):>5}  {accounting.get('accepted', 0):>7,} events  "
            f"{self._rate():>6,.0f}/s  "
            f"{sum(statuses.values()):>5,} traces ({statuses['COMPLETE']:,} complete, "
            f"{statuses['INCOMPLETE']:,} incomplete, {statuses['BROKEN']:,} broken)  "
            f"{accounting.get('open', 0):>5,} open"
        )

    def _rate(self) -> float:
        (then, before), (now, after) = self._rates[0], self._rates[-1]
        return (after - before) / (now - then) if now > then else 0.0

    # --- picture

    def _picture(self, scene: Scene, accounting: Mapping[str, int]) -> Group:
        return Group(
            Panel(Text(self._line(scene, accounting)), title="joined so far", title_align="left"),
            Panel(self._edges(scene), title="fidelity, last 10 s", title_align="left"),
            Panel(self._incidents(scene), title="incidents", title_align="left"),
        )

    def _edges(self, scene: Scene) -> Table:
        since_us = wall_us() - FIDELITY_WINDOW_US - 8 * SECOND_US
        table = Table.grid(padding=(0, 2))
        edges = scene.watcher.edges(since_us)
        worst = sorted(
            (observed / expected, edge, expected)
            for edge, (expected, observed) in edges.items()
            if expected
        )
        for ratio, (flow, near, far), expected in worst[:9]:
            colour = "green" if ratio >= 0.999 else "yellow" if ratio >= 0.95 else "red"
            bar = Text("█" * round(20 * ratio) + "░" * (20 - round(20 * ratio)), style=colour)
            edge = Text(f"{flow}:{near}>{far}")
            table.add_row(edge, bar, f"{100 * ratio:6.2f} %", f"{expected:,} records")
        if not worst:
            table.add_row("waiting for the first window")
        return table

    def _incidents(self, scene: Scene) -> Table:
        table = Table.grid(padding=(0, 2))
        incidents = scene.watcher.incidents()[-8:]
        for incident in incidents:
            table.add_row(*_incident_cells(incident))
        if not incidents:
            table.add_row("none")
        return table


def _incident_cells(incident: Mapping[str, Any]) -> tuple[Text, ...]:
    is_over = incident["event"] == "RESOLVED"
    style = "dim" if is_over else _SEVERITY.get(incident["severity"], "")
    cells = (
        incident["incident_id"][:8],
        incident["event"],
        incident["severity"],
        incident["owner"],
        incident["title"],
    )
    return tuple(Text(cell, style=style) for cell in cells)


def _left(scene: Scene) -> str:
    left = scene.ends_us - wall_us()
    return f"{left / SECOND_US:.0f} s" if left > 0 else "end"
