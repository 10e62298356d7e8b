"""Spans, and which of them is the current one.

A span is made, entered, left and handed over on the caller's thread, so what happens here is the
whole price of telemetry in a pipeline: ids stay numbers, texts stay as they came, and the finished
span is the queue's entry itself. What it becomes on the wire is `sdk.encode`'s, in another thread.

Invariant: nothing here raises into the pipeline, waits or reads anything but clocks and chance. A
span that has ended does not change any more.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from random import Random
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar

from streams.codec.w3c import RANDOM, SAMPLED, Baggage, Item, TraceParent, TraceState
from streams.sdk.texts import (
    DIMENSIONS_MAX,
    NAME_CHARACTERS_MAX,
    as_id,
    as_text,
    take,
)

if TYPE_CHECKING:
    from streams.sdk.place import Place

UNSET: Final = 0
OK: Final = 1
ERROR: Final = 2
"""Codes of `SpanStatus`."""
KINDS: Final = ("INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
Kind = Literal["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]
LINKS_MAX: Final = 1_000
"""Links of a span; further ones are cut."""
LINK_CHARACTERS: Final = 48
"""What a link counts for in the bound of what waits: the digits of its ids."""
_RANDOM_BITS: Final = (1 << 56) - 1
"""The part of a trace id that is random by W3C level 2, and that sampling reads."""
THRESHOLD_NONE: Final = 1 << 56
_LEFT_MAX: Final = 1_000
"""So many spans that were left are passed over."""
T = TypeVar("T")

chance: Final = Random()
"""Of ids; `sdk.forks` seeds it anew in a child process."""


class Carried(NamedTuple):
    """What a span's children have from it, besides the ids: one reference for all of it.

    Attributes:
        state: members of the tracestate.
        baggage: by name.
        record_id, batch_id, correlation_id: what the spans are about.
    """

    state: TraceState = ()
    baggage: Baggage | None = None
    record_id: str = ""
    batch_id: str = ""
    correlation_id: str = ""


NOTHING: Final = Carried()


class _Part(Generic[T]):
    """An attribute that lies in a named tuple which several spans may share.

    Args:
        whole: name of the tuple's attribute.
    """

    def __init__(self, whole: str) -> None:
        self._whole = whole

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, of: Context, _: type | None = None) -> T:
        found: T = getattr(getattr(of, self._whole), self._name)
        return found

    def __set__(self, of: Context, value: T) -> None:
        setattr(of, self._whole, getattr(of, self._whole)._replace(**{self._name: value}))


class Context:
    """Where a span stands, as another process or an error queue told it.

    Attributes:
        trace_id, span_id: numbers; 0 where a new trace begins.
        flags: W3C trace flags.
        carried: the rest, each of which is an attribute too.
    """

    __slots__ = ("carried", "flags", "span_id", "trace_id")

    def __init__(
        self,
        trace_id: int = 0,
        span_id: int = 0,
        flags: int = 0,
        state: TraceState = (),
        baggage: Baggage | None = None,
        record_id: str = "",
        batch_id: str = "",
        correlation_id: str = "",
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.carried = Carried(state, baggage, record_id, batch_id, correlation_id)

    state = _Part[TraceState]("carried")
    baggage = _Part["Baggage | None"]("carried")
    record_id = _Part[str]("carried")
    batch_id = _Part[str]("carried")
    correlation_id = _Part[str]("carried")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.parent})"

    @property
    def parent(self) -> TraceParent:
        """The context as the ids of a traceparent."""
        return TraceParent(f"{self.trace_id:032x}", f"{self.span_id:016x}", self.flags)

    @property
    def is_sampled(self) -> bool:
        """Whether the spans of the trace are sent, and not only those with errors."""
        return bool(self.flags & SAMPLED)


_current: ContextVar[Context | None] = ContextVar("spanloom_span", default=None)


def current() -> Context | None:
    """Return the span or context that the running code is in, None outside of any."""
    return _current.get()


def is_context(given: object) -> bool:
    """Return whether it is one; a proxy is not asked, which may raise."""
    return issubclass(type(given), Context)


class Left:
    """What is to be current in place of a span that was left before one that began within it."""

    __slots__ = ("context",)

    def __init__(self, context: Context | None) -> None:
        self.context = context


_early: Final[list[bool]] = []
"""Empty while no span of this process was ever left early: then nobody looks for them."""


def before(token: Token[Context | None] | Left) -> Context | None:
    """Return what was current before; spans that were left meanwhile are passed over."""
    found: object = token.context if isinstance(token, Left) else token.old_value
    for _ in range(_LEFT_MAX):  # one that was left and entered again may lead back to itself
        if not isinstance(found, Span) or not isinstance(found._token, Left):
            break
        found = found._token.context
    return found if isinstance(found, Context) else None


class Told(NamedTuple):
    """What few spans say.

    Attributes:
        operation, actor: as in TelemetryEvent.
        links: trace and span of each.
    """

    operation: str = ""
    actor: str = ""
    links: tuple[tuple[int, int], ...] = ()


UNTOLD: Final = Told()


class Span(Context):
    """One operation: use it as a context manager, or call `end`.

    Attributes:
        place: who makes it; its name, kind, dimensions and ids are as in TelemetryEvent.
        characters: of its dimensions, for the bound of what waits.
        parent_id: number of its parent, 0 for a root.
        start_ns: Unix nanoseconds.
        duration_ns: until it has ended, less than 0: the clock's reading at its start.
        status: UNSET, OK or ERROR.
    """

    __slots__ = (
        "_token", "characters", "dimensions", "duration_ns", "kind", "name",
        "parent_id", "place", "start_ns", "status", "told",
    )  # fmt: skip

    def __init__(
        self,
        place: Place,
        name: str,
        kind: int,
        parent: Context | None,
        dimensions: dict[str, Any] | None,
    ) -> None:
        self.place = place
        self.name = name
        self.kind = kind
        if parent is None:
            parent = _current.get()
        self.span_id = chance.getrandbits(64) or 1
        if parent is not None and parent.trace_id:
            self.trace_id = parent.trace_id
            self.parent_id = parent.span_id
            self.flags = parent.flags
            self.carried = parent.carried
        else:
            self.trace_id = trace_id = chance.getrandbits(128) or 1
            self.parent_id = 0
            is_in = (trace_id & _RANDOM_BITS) >= place.threshold
            self.flags = RANDOM | SAMPLED if is_in else RANDOM
            # The state is the trace's that is not gone on with.
            self.carried = NOTHING if parent is None else parent.carried._replace(state=())
        self.dimensions: dict[str, Any] | None
        if dimensions:
            self.dimensions, self.characters = take(dimensions, place.emitter)
        else:
            self.dimensions, self.characters = None, 0
        self.told = UNTOLD
        self.status = UNSET
        self._token: Token[Context | None] | Left | None = None
        self.start_ns = time_ns()
        self.duration_ns = -perf_counter_ns()

    operation = _Part[str]("told")
    actor = _Part[str]("told")
    links = _Part[tuple[tuple[int, int], ...]]("told")

    def __enter__(self) -> Span:
        self._token = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        token = self._token
        if token is not None:
            if _current.get() is not self:
                self._leave_early(token)
            else:
                self._token = None
                try:
                    _current.reset(token)  # type: ignore[arg-type]
                except (TypeError, ValueError):  # it was entered in another context, or left twice
                    _current.set(before(token))
                if _early:
                    _current.set(before(token))
        if error is not None:
            self.fail(error)
        self.end()

    def _leave_early(self, token: Token[Context | None] | Left) -> None:
        """Let whoever goes back to it later go on to what was current before it."""
        if type(token) is Token:
            outer = before(token)
            self._token = Left(None if outer is self else outer)
            _early[:] = [True]

    def __reduce__(self) -> tuple[type[Context], tuple[Any, ...]]:
        """Go to another process as a context, as its headers would."""
        values = (
            self.trace_id, self.span_id, self.flags, self.state, self.baggage,
            self.record_id, self.batch_id, self.correlation_id,
        )  # fmt: skip
        return Context, values

    def end(self) -> None:
        """End the span and hand it over; a second call does nothing."""
        open_ns = self.duration_ns
        if open_ns >= 0:
            return
        self.duration_ns = perf_counter_ns() + open_ns
        if self.status == UNSET:
            self.status = OK
        emitter = self.place.emitter
        if not self.flags & SAMPLED:
            is_sent = self.status == ERROR
            if -open_ns >= emitter.born_ns:  # else the process that forked counts it
                emitter.unsampled(self.place, is_root=not self.parent_id, is_sent=is_sent)
            if not is_sent:
                return
        if emitter.born_ns and -open_ns < emitter.born_ns:
            emitter.of_parent()
            return
        queue = emitter.queue
        characters = self.characters
        if characters:  # as `Emitter.weigh`, without the call
            emitter.queued_characters += characters
            if emitter.queued_characters > emitter.characters_max:
                emitter.room = 0
        if len(queue) < emitter.room:
            queue.append(self)
        else:
            emitter.crowded(self)

    def set(self, name: str, value: object) -> Span:
        """Set a dimension."""
        if self.duration_ns < 0:
            known = self.dimensions
            name = (name if type(name) is str else as_text(name))[:NAME_CHARACTERS_MAX]
            if known is None or name in known or len(known) < DIMENSIONS_MAX:
                self._put(name, value)
            else:
                self.place.emitter.cut += 1
        return self

    def _put(self, name: str, value: object) -> None:
        known = self.dimensions or {}
        found, characters = take({name: value}, self.place.emitter)
        self.dimensions = {**known, **found}
        before_it = len(name) + len(known[name]) if name in known else 0
        self.characters += characters - before_it

    def about(
        self,
        record_id: str | None = None,
        batch_id: str | None = None,
        correlation_id: str | None = None,
        operation: str | None = None,
        actor: str | None = None,
    ) -> Span:
        """Say what the span is about; spans that begin within it say so too."""
        given = (
            ("record_id", record_id), ("batch_id", batch_id), ("correlation_id", correlation_id),
            ("operation", operation), ("actor", actor),
        )  # fmt: skip
        for name, value in given:
            if value is not None and self.duration_ns < 0:
                setattr(self, name, as_id(value, "", self.place.emitter))
        return self

    def link(self, *others: Context) -> Span:
        """Link spans of other traces: the records of a batch, the original of a recovered one."""
        if self.duration_ns < 0:
            emitter = self.place.emitter
            are_contexts = [at for at in others if is_context(at)]
            found = [(at.trace_id, at.span_id) for at in are_contexts if at.trace_id]
            emitter.refused += len(others) - len(are_contexts)
            known = self.links
            kept = (*known, *found)[:LINKS_MAX]
            emitter.cut += len(known) + len(found) - len(kept)
            self.characters += LINK_CHARACTERS * (len(kept) - len(known))
            self.links = kept
        return self

    def carry(self, **values: str) -> Span:
        """Put values into the baggage of what begins within the span, here and in other modules."""
        known = self.baggage or {}
        self.baggage = {**known, **{name: Item(as_text(value)) for name, value in values.items()}}
        return self

    def fail(self, error: BaseException | None = None, category: str = "") -> None:
        """Mark the span as failed, by an exception's type; its message may hold anything.

        What ends a task without being wrong (a cancellation, an exit) is no error.
        """
        given: Any = error
        kind: type = given if issubclass(type(given), type) else type(given)
        is_raised = issubclass(kind, BaseException)
        if is_raised and not issubclass(kind, Exception):
            self._mark("interrupted_by", kind.__name__)
            return
        if self.duration_ns >= 0:
            return
        self.status = ERROR
        if is_raised:
            self._mark("error_type", kind.__name__)
        elif error is not None:  # it has failed, but by no exception
            self.place.emitter.refused += 1
        if type(category) is not str or category:
            self._mark("error_category", as_text(category))

    def _mark(self, name: str, value: str) -> None:
        """Set what says how it ended; there is room for that beyond the bound."""
        if self.duration_ns < 0:
            self._put(name, value)
