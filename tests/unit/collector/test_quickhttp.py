"""Exports of the common form are read in place; what is not of it is h11's, with its answers."""

import asyncio
import contextlib
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from streams.collector.edge import Answers
from streams.collector.parcel import Parcel, Settled
from streams.collector.quickhttp import QuickProtocol, common_head, quick
from streams.collector.replies import PROTOBUF
from streams.collector.request import Outcome
from streams.serving.patience import PatientProtocol
from tests.otlp_cases import span_of, traces
from tests.unit.collector.asked import Asked
from tests.unit.collector.at_hand import Outlet
from tests.unit.console.test_patience import Running, until

BODY = traces("shop", [span_of(1, 1), span_of(1, 2)]).SerializeToString()
TYPE = f"Content-Type: {PROTOBUF}\r\n"
HOST = "Host: x\r\n"


def post(*headers: str, body: bytes = BODY, line: str = "POST /v1/traces HTTP/1.1") -> bytes:
    """Return a request; a length is added where no header says one."""
    lines = list(headers) or [HOST, TYPE]
    if not any(re.match("content-length|transfer", one, re.I) for one in lines):
        lines.append(f"Content-Length: {len(body)}\r\n")
    return f"{line}\r\n{''.join(lines)}\r\n".encode("latin-1") + body


class Held(Outlet):
    """Keeps its word on events back until it is told to say it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Settled] = []
        self.is_open = False
        """Whether it has given up to hold anything back."""

    def send(self, parcel: Parcel, settled: Settled) -> None:
        with self.lock:
            self.parcels.append(parcel)
            if parcel.events and not self.is_open:
                self.waiting.append(settled)
                return
        settled("")

    def settle(self) -> None:
        """Say that all of it is safe."""
        with self.lock:
            waiting, self.waiting = self.waiting, []
        for settled in waiting:
            settled("")


class Served(Running):
    """A collector's server; the ways that its requests went."""

    def __init__(
        self,
        outlet: Outlet | None = None,
        *,
        is_quick: bool = True,
        limit: int | None = None,
        **settings: Any,
    ) -> None:
        self.asked = Asked(outlet or Outlet(), **settings)
        self.ways: list[bool] = []
        """Of what came while no request was open: whether it went the quick way."""
        ways = self.ways

        class Seen(quick(self.asked.app)):  # type: ignore[misc]
            def _begin(self, data: bytes) -> bool:
                is_common: bool = super()._begin(data)
                ways.append(is_common)
                return is_common

        protocol: type[PatientProtocol] = Seen if is_quick else PatientProtocol
        config = {} if limit is None else {"limit_concurrency": limit}
        super().__init__(self.asked.app, self.asked.meters, protocol=protocol, **config)

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.asked.intake.close()

    def is_at_rest(self) -> bool:
        """Whether no request holds anything."""
        edge, open_requests = self.asked.edge, self.asked.meters.open_requests["http"]
        return not (edge.held.taken or self.asked.app.room.taken or open_requests)


class Wire:
    """A client that says bytes, and reads answers one by one."""

    def __init__(self, at: Running) -> None:
        self.socket = at.connect()
        self.socket.settimeout(60)
        self._read = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *parts: bytes) -> None:
        """Send some bytes, each part of its own."""
        for part in parts:
            self.socket.sendall(part)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer; status 0 at the end."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return 0, {}, self._read
        head, _, rest = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name: value for name, value in pairs if name != "date"}
        assert len(lines) - len(headers) in (0, 1), f"a date at most, each header once: {lines}"
        size = int(headers.get("content-length", 0))
        self._read = rest
        while len(self._read) < size:
            assert self._more(), "a body that is cut"
        body, self._read = self._read[:size], self._read[size:]
        return int(first.split(" ")[1]), headers, body

    def _more(self) -> bool:
        try:
            more = self.socket.recv(65_536)
        except ConnectionError:
            return False
        self._read += more
        return bool(more)


COMMON = {
    "as exporters write it": post(
        HOST, TYPE, "User-Agent: a b/1\r\n", "Connection: keep-alive\r\n"
    ),
    "small names, no space, tabs": post(
        "host:x\r\n", f"content-type:\t{PROTOBUF} \r\n", "x-a:a\tb\r\n"
    ),
    "a body that cannot be read": post(HOST, TYPE, body=b"\xff"),
    "no body": post(HOST, TYPE, body=b""),
    "another path": post(HOST, TYPE, line="POST /v1/logs HTTP/1.1", body=b""),
    "JSON": post(HOST, "Content-Type: application/json\r\n", body=b"{}"),
}
UNCOMMON = {
    "no host": post(TYPE),
    "two hosts": post(HOST, HOST, TYPE),
    "two lengths": post(HOST, TYPE, "Content-Length: 3\r\n", "content-length: 4\r\n", body=b"abc"),
    "a length twice": post(HOST, TYPE, "Content-Length: 0\r\n", "Content-Length: 0\r\n", body=b""),
    "a list of lengths": post(HOST, TYPE, "Content-Length: 0, 0\r\n", body=b""),
    "a signed length": post(HOST, TYPE, "Content-Length: +3\r\n", body=b"abc"),
    "a length below 0": post(HOST, TYPE, "Content-Length: -3\r\n", body=b""),
    "a length that is none": post(HOST, TYPE, "Content-Length: \r\n", body=b""),
    "an absurd length": post(HOST, TYPE, f"Content-Length: {'9' * 30}\r\n", body=b""),
    "a length and chunks": post(
        HOST, TYPE, "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"
    ),
    "chunks": post(HOST, TYPE, "Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
    "the end of the connection": post(HOST, TYPE, "Connection: close\r\n"),
    "one of several words of connections": post(HOST, TYPE, "Connection: x, close\r\n"),
    "HTTP/1.0": post(HOST, TYPE, line="POST /v1/traces HTTP/1.0"),
    "HTTP/1.7": post(HOST, TYPE, line="POST /v1/traces HTTP/1.7"),
    "the whole address": post(HOST, TYPE, line="POST http://x/v1/traces HTTP/1.1"),
    "a question": post(HOST, TYPE, line="POST /v1/traces?a HTTP/1.1"),
    "an escaped path": post(HOST, TYPE, line="POST /v1/%74races HTTP/1.1"),
    "no such path": post(HOST, TYPE, line="POST /v1/nothing HTTP/1.1"),
    "another method": post(HOST, TYPE, line="PUT /v1/traces HTTP/1.1"),
    "a folded line": post(HOST, TYPE, "X-A: a\r\n b\r\n"),
    "a space before a colon": post(HOST, TYPE, "X-A : a\r\n"),
    "a line without a colon": post(HOST, TYPE, "X-A\r\n"),
    "a null": post(HOST, TYPE, "X-A: a\0b\r\n"),
    "a lone line feed": post(HOST, TYPE, "X-A: a\nContent-Length: 3\r\n", body=b"abc"),
    "another alphabet": post(HOST, TYPE, "X-A: \xe9\r\n"),
    "a space in front": b" " + post(),
    "an empty line in front": b"\r\n" + post(),
    "no HTTP": b"\x16\x03\x01\x02\x00\r\n\r\n",
    "a large head": post(HOST, TYPE, f"X-A: {'a' * 20_000}\r\n"),
}
CHUNKS = post(
    HOST, TYPE, "Transfer-Encoding: chunked\r\n", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
)
REFUSED = {
    "no type": post(HOST),
    "a type that is none of ours": post(HOST, "Content-Type: text/plain\r\n"),
    "two types": post(HOST, TYPE, TYPE),
    "a coding that is none of ours": post(HOST, TYPE, "Content-Encoding: br\r\n"),
    "two codings": post(HOST, TYPE, "Content-Encoding: gzip\r\n", "Content-Encoding: gzip\r\n"),
    "too much": post(HOST, TYPE, "Content-Length: 99000000000\r\n", body=b""),
}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Served, Served]]:
    """Yield a collector that has the quick way, and one that has not."""
    with Served() as one, Served(is_quick=False) as other:
        yield one, other


@pytest.mark.parametrize("name", [*COMMON, *UNCOMMON, *REFUSED])
def test_the_quick_way_answers_as_h11_does(name: str, both: tuple[Served, Served]) -> None:
    """In status, headers and body, and in whether the connection goes on."""
    said = {**COMMON, **UNCOMMON, **REFUSED}[name]
    heard = []
    both[0].ways.clear()
    for at in both:
        with Wire(at) as wire:
            wire.say(said)
            found = [wire.answer()]
            if found[-1][0] and found[-1][1].get("connection") != "close":
                with contextlib.suppress(OSError):
                    wire.say(post(body=b""))
                found.append(wire.answer())
            heard.append(found)
    assert heard[0] == heard[1]
    assert heard[0][0][0] != 0, "somebody was answered"
    until(lambda: both[0].ways[:1] == [name in COMMON])
    until(lambda: all(at.is_at_rest() for at in both))


@pytest.mark.parametrize("name", UNCOMMON)
def test_what_is_not_common_is_no_common_head(name: str) -> None:
    """Whatever stands behind it."""
    assert common_head(UNCOMMON[name]) is None
    assert common_head(UNCOMMON[name] + post()) is None


def test_two_lengths_end_the_connection(both: tuple[Served, Served]) -> None:
    """A proxy may have believed the other one: what follows may be a smuggled request."""
    said = UNCOMMON["a length and chunks"]
    for at in both:
        for request in (said, said.replace(b"/v1/traces", b"/ready").replace(b"POST", b"GET")):
            with Wire(at) as wire:
                wire.say(request + post())
                status, headers, _ = wire.answer()
                assert (status, headers["connection"]) == (400, "close")
                assert wire.answer()[0] == 0
    assert both[0].asked.meters.refused["two_lengths"] >= 2


def test_a_head_or_a_body_in_pieces_is_the_same_request(both: tuple[Served, Served]) -> None:
    """A head that is cut goes h11's way; a body may come in any pieces."""
    whole = post()
    begin = whole.index(b"\r\n\r\n") + 4
    at, _ = both
    at.asked.outlet.parcels.clear()
    with Wire(at) as wire:
        for cut in (1, begin - 1, begin, begin + 1, len(whole) - 1):
            wire.say(whole[:cut])
            wire.say(whole[cut:])
            assert wire.answer()[0::2] == (200, b"")
        wire.say(whole[:begin])
        for octet in whole[begin:]:
            wire.say(bytes([octet]))
        assert wire.answer()[0::2] == (200, b"")
    assert sum(parcel.events for parcel in at.asked.outlet.parcels) == 6 * 2


def test_requests_behind_each_other_are_answered_in_turn() -> None:
    """Common ones and others; none is begun before the one before it is answered."""
    outlet = Held()
    with Served(outlet) as at, Wire(at) as wire:
        ready = b"GET /ready HTTP/1.1\r\nHost: x\r\nAccept: me\r\n\r\n"
        wire.say(post(), post(body=b"\xff") + ready, post() + ready + post())
        until(lambda: bool(outlet.waiting))
        assert at.asked.meters.open_requests["http"] == 1
        assert not at.asked.meters.requests
        outlet.settle()
        assert wire.answer()[0] == 200
        assert wire.answer()[0] == 400
        assert wire.answer()[0::2] == (200, b"me")
        until(lambda: bool(outlet.waiting))
        outlet.settle()
        assert [wire.answer()[0] for _ in range(2)] == [200, 200]
        until(lambda: bool(outlet.waiting))
        outlet.settle()
        assert wire.answer()[0] == 200
        until(at.is_at_rest)


def test_a_body_that_does_not_come_is_given_up() -> None:
    """With 408 and the end of the connection; what it held is free again."""
    with Served(body_seconds=0.2) as at, Wire(at) as wire:
        wire.say(post()[:-1])
        status, headers, _ = wire.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert wire.answer()[0] == 0
        until(lambda: at.ways == [True])
        assert at.asked.meters.refused == {"slow_body": 1}
        until(at.is_at_rest)


def test_who_goes_away_leaves_nothing_behind() -> None:
    """Within a body it counts as gone; after it, its events are taken all the same."""
    outlet = Held()
    with Served(outlet) as at:
        with Wire(at) as wire:
            wire.say(post()[:-1])
            until(lambda: at.asked.edge.held.taken > 0)
        until(at.is_at_rest)
        assert at.asked.meters.requests == {("/v1/traces", 499): 1}
        with Wire(at) as wire:
            wire.say(post())
            until(lambda: bool(outlet.waiting))
        outlet.settle()
        until(at.is_at_rest)
        until(lambda: not at.asked.meters.connections())
        assert at.asked.meters.taken_events["spans"] == 2


@pytest.mark.parametrize(
    "said",
    [
        [post()],
        [post(), post(body=b"")],
        [CHUNKS],
        [post(), CHUNKS],
        [CHUNKS, post()],
        [UNCOMMON["the end of the connection"]],
    ],
    ids=["one", "two", "chunks", "one and chunks", "chunks and one", "the last"],
)
def test_who_says_no_more_is_still_answered(said: list[bytes]) -> None:
    """Its events were taken; without an answer it would send them again. Then the end comes."""
    outlet = Held()
    with Served(outlet) as at, Wire(at) as wire:
        wire.say(b"".join(said))
        wire.socket.shutdown(socket.SHUT_WR)
        until(lambda: at.asked.meters.open_requests["http"] > 0)
        outlet.is_open = True
        outlet.settle()
        assert [wire.answer()[0] for _ in said] == [200] * len(said)
        assert wire.answer()[0] == 0
        until(at.is_at_rest)
        outlet.settle()


def test_who_says_no_more_before_its_body_is_whole_is_let_go() -> None:
    """There is nothing to answer."""
    with Served() as at, Wire(at) as wire:
        wire.say(post(HOST, TYPE, f"Content-Length: {len(BODY) + 1}\r\n"))
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.answer()[0] == 0
        until(at.is_at_rest)


def test_without_room_for_bytes_one_is_told_to_come_again() -> None:
    """After its body, which is not kept: the connection goes on."""
    with Served() as at, Wire(at) as wire:
        taken = at.asked.settings.held_bytes_max - len(BODY) + 1
        at.asked.edge.held.take(taken)
        wire.say(post())
        status, headers, _ = wire.answer()
        assert (status, headers["retry-after"]) == (503, "5")
        until(lambda: at.ways == [True])
        at.asked.edge.held.leave(taken)
        wire.say(post())
        assert wire.answer()[0] == 200
        until(at.is_at_rest)


def test_many_behind_each_other_that_are_refused_at_once_are_all_answered() -> None:
    """What is refused without waiting is answered one after the other, not one within the other."""
    with Served() as at, Wire(at) as wire:
        taken = at.asked.settings.held_bytes_max - len(BODY) + 1
        at.asked.edge.held.take(taken)
        wire.say(post() * 1_500)
        assert Counter(wire.answer()[0] for _ in range(1_500)) == {503: 1_500}
        at.asked.edge.held.leave(taken)
        wire.say(post())
        assert wire.answer()[0] == 200
        until(at.is_at_rest)


def test_without_a_place_one_is_told_so_by_the_usual_way() -> None:
    """Too many requests at once, too many connections."""
    outlet = Held()
    with Served(outlet, requests_max=1, limit=3) as at, Wire(at) as first, Wire(at) as second:
        first.say(post())
        until(lambda: bool(outlet.waiting))
        second.say(post())
        assert second.answer()[0] == 429
        with Wire(at) as third:
            third.say(post())
            assert third.answer()[0] == 503
        outlet.settle()
        assert first.answer()[0] == 200


def test_at_the_end_what_was_begun_is_answered() -> None:
    """And told that the connection ends; one that is idle just ends."""
    outlet = Held()
    with Served(outlet) as at, Wire(at) as busy, Wire(at) as idle:
        idle.say(post(body=b""))
        assert idle.answer()[0] == 200
        busy.say(post())
        until(lambda: bool(outlet.waiting))
        at.server.should_exit = True
        assert idle.answer()[0] == 0
        outlet.settle()
        status, headers, _ = busy.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert busy.answer()[0] == 0


def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a quick answer as after any."""
    monkeypatch.setattr("streams.serving.patience.IDLE_SECONDS", 0)
    with Served() as at, Wire(at) as wire:
        wire.say(post())
        assert wire.answer()[0] == 200
        assert wire.answer()[0] == 0


def test_a_fault_of_ours_is_500_and_hurts_nobody_else(
    both: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes on."""

    def broken(*_: object) -> None:
        raise RuntimeError

    at, _ = both
    with Wire(at) as wire:
        with monkeypatch.context() as patched:
            patched.setattr(QuickProtocol, "_reply", broken)
            wire.say(post())
            assert wire.answer()[0] == 500
        wire.say(post())
        assert wire.answer()[0] == 200
        until(at.is_at_rest)


def test_answers_of_many_threads_are_each_told_once() -> None:
    """On the loop; one that fails takes no other with it."""
    told: Counter[int] = Counter()
    threads, each = 8, 500

    async def hear() -> None:
        answers = Answers(asyncio.get_running_loop())
        over = asyncio.Event()
        loop_thread = threading.get_ident()

        def give(thread: int) -> None:
            for n in range(each):
                answers.give(lambda _, n=n: take(thread * each + n), Outcome(1))

        def take(n: int) -> None:
            assert threading.get_ident() == loop_thread
            told[n] += 1
            if len(told) == threads * each:
                over.set()
            if not n % 500:
                raise RuntimeError

        started = [threading.Thread(target=give, args=(n,)) for n in range(threads)]
        for one in started:
            one.start()
        await asyncio.wait_for(over.wait(), 120)
        for one in started:
            one.join()

    asyncio.run(hear())
    assert set(told.values()) == {1}


def test_nothing_is_read_of_what_comes_behind_an_open_request() -> None:
    """A client that goes on sending is held back by its own socket, not kept in memory."""
    outlet = Held()
    with Served(outlet) as at, Wire(at) as wire:
        wire.say(post())
        until(lambda: bool(outlet.waiting))
        wire.socket.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += wire.socket.send(post(body=b"") * 1_000)
        assert sent < 64 << 20
        (one,) = at.server.server_state.connections
        assert len(one._behind) < 1 << 20  # type: ignore[union-attr]
        outlet.is_open = True
        outlet.settle()
