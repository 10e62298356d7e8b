"""What both servers share: bounds on what is open at once, and the way into the intake and back."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from streams.codec.inflate import Coding
from streams.collector.access import Access
from streams.collector.intake import Intake
from streams.collector.meters import Meters
from streams.collector.request import Done, Form, Kind, Outcome, Refusal, Request
from streams.collector.settings import CollectorSettings
from streams.serving.bounds import BusyError, Room

log = structlog.get_logger()


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
    _answers: "Answers | None" = None

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

    def submit(
        self, kind: Kind, form: Form, coding: Coding, body: bytes, source: str, told: Done
    ) -> None:
        """Hand a request to the intake; `told` is called on this loop when its events are safe."""
        loop = asyncio.get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = Answers(loop)
        done = partial(self._answers.give, told)
        self.intake.submit(Request(kind, form, coding, body, source, done))

    async def take(
        self, kind: Kind, form: Form, coding: Coding, body: bytes, source: str
    ) -> Outcome | Refusal:
        """Hand a request to the intake and wait until its events are safe, or refused."""
        answer: asyncio.Future[Outcome | Refusal] = asyncio.get_running_loop().create_future()

        def told(found: Outcome | Refusal) -> None:
            if not answer.done():  # its sender may have gone away
                answer.set_result(found)

        self.submit(kind, form, coding, body, source, told)
        return await answer


class Answers:
    """Brings answers from other threads to the loop; all that wait are told in one turn of it.

    Args:
        loop: where they are told.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: deque[tuple[Done, Outcome | Refusal]] = deque()
        self._is_called = False

    def give(self, told: Done, found: Outcome | Refusal) -> None:
        """Let something be told; in any thread."""
        self._waiting.append((told, found))
        if not self._is_called:  # a turn that is asked for and has not begun sees this one too
            self._is_called = True
            self.loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_called = False  # first: what comes from now on asks for another turn
        while self._waiting:
            told, found = self._waiting.popleft()
            try:
                told(found)
            except Exception:  # one answer that fails must not take others with it
                log.exception("answer_failed")


def rooms(settings: CollectorSettings) -> Callable[[str], Room]:
    """Return a function that makes the room of a protocol's requests."""

    def room(protocol: str) -> Room:
        words = f"more than {settings.requests_max} requests of {protocol} at once"
        return Room(settings.requests_max, "too_many_requests", words)

    return room
