"""What both servers share: bounds on what is open at once, and the way into the intake and back."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from streams.collector.access import Access
from streams.collector.intake import Intake
from streams.collector.meters import Meters
from streams.collector.request import Coding, Form, Kind, Outcome, Refusal, Request
from streams.collector.settings import CollectorSettings
from streams.serving.bounds import BusyError, Room


@dataclass(slots=True)
class Edge:
    """The collector as its servers see it; used on the loop alone.

    Attributes:
        settings: of the collector.
        access: says who may send.
        intake: takes requests.
        meters: of the process.
        held: bytes of requests that are not answered yet.
        is_stopping: no request is taken any more.
    """

    settings: CollectorSettings
    access: Access
    intake: Intake
    meters: Meters
    held: Room
    is_stopping: bool = False

    def busy(self, reason: str, words: str, status: int = 503) -> Refusal:
        """Return a refusal that tells to come again."""
        return Refusal(status, reason, words, self.settings.retry_after_seconds)

    def hold(self, size: int) -> Refusal | None:
        """Make room for bytes of a request; return why there is none."""
        try:
            self.held.take(size)
        except BusyError as error:
            return self.busy(error.reason, str(error))
        self.meters.held_bytes = self.held.taken
        return None

    def let_go(self, size: int) -> None:
        """Give room back."""
        self.held.leave(size)
        self.meters.held_bytes = self.held.taken

    async def take(
        self, kind: Kind, form: Form, coding: Coding, body: bytes, source: str
    ) -> Outcome | Refusal:
        """Hand a request to the intake and wait until its events are safe, or refused."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome | Refusal] = loop.create_future()

        def told(found: Outcome | Refusal) -> None:
            if not answer.done():  # its sender may have gone away
                answer.set_result(found)

        def done(found: Outcome | Refusal) -> None:
            loop.call_soon_threadsafe(told, found)

        self.intake.submit(Request(kind, form, coding, body, source, done))
        return await answer


def rooms(settings: CollectorSettings) -> Callable[[str], Room]:
    """Return a function that makes the room of a protocol's requests."""

    def room(protocol: str) -> Room:
        words = f"more than {settings.requests_max} requests of {protocol} at once"
        return Room(settings.requests_max, "too_many_requests", words)

    return room
