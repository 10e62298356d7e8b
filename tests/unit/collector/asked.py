"""A collector without Kafka: its HTTP application on an intake whose parcels are kept."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from streams.codec.otlp.services import Services
from streams.collector import openapi
from streams.collector.access import Access
from streams.collector.edge import Edge, rooms
from streams.collector.http import HttpEdge
from streams.collector.intake import Intake, IntakeSettings
from streams.collector.judging import Judge, Layout
from streams.collector.meters import Meters
from streams.collector.otlp import OtlpValues
from streams.collector.replies import Reply
from streams.collector.settings import CollectorSettings
from streams.serving.bounds import Room
from tests.unit.collector.at_hand import Outlet

REJECTED = "telemetry.rejected.v1"


class Asked:
    """The application, its outlet and its meters."""

    def __init__(self, outlet: Outlet, **settings: Any) -> None:
        self.outlet, self.meters = outlet, Meters()
        self.settings = CollectorSettings(**settings)
        counts = {"telemetry.alpha.v1": 4, "telemetry.other.v1": 4}
        layout = Layout({"ALPHA": "telemetry.alpha.v1"}, "telemetry.other.v1", counts)
        self.intake = Intake(
            Judge(layout, {}, 512 << 10),
            OtlpValues(Services()),
            outlet,
            self.meters,
            IntakeSettings(self.settings.inflated_bytes_max, 7, REJECTED, 4),
        )
        held = Room(self.settings.held_bytes_max, "held_bytes", "too many bytes")
        self.edge = Edge(self.settings, Access(self.settings), self.intake, self.meters, held)
        pages = {
            "/ready": lambda accept: Reply(200, "text/plain", accept.encode()),
            **openapi.page(self.settings),
        }
        self.app = HttpEdge(self.edge, rooms(self.settings)("HTTP"), pages)

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Return what is answered."""

        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return await client.request(method, path, **given)

        return asyncio.run(asking())

    def post(self, path: str, body: bytes, kind: str = "application/json", **headers: str) -> Any:
        """Return what is answered to a body; a header's `_` stands for `-`."""
        given = {"content-type": kind} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask("POST", path, content=body, headers=given)


@contextmanager
def asked(said: str = "", **settings: Any) -> Iterator[Asked]:
    """Yield a collector whose outlet says one thing of all parcels."""
    made = Asked(Outlet(said), **settings)
    try:
        yield made
    finally:
        made.intake.close()
