"""The port of gRPC: one collector has it, and each other one is refused."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from streams.collector.edge import Edge
from streams.collector.meters import Meters
from streams.collector.rpc import server
from streams.collector.settings import CollectorSettings
from streams.errors import ConfigError
from streams.serving.bounds import Room
from tests.otlp_cases import span_of, traces
from tests.ports import free_ports
from tests.unit.collector.asked import Asked, asked

ROOT = Path(__file__).parents[3]
ROUNDS = 20
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
REQUEST = traces("shop", [span_of(1, n) for n in range(1, 21)]).SerializeToString()
NAME = "collector_grpc_port (SPANLOOM_COLLECTOR_GRPC_PORT, --grpc)"


def made(port: int, address: str = "127.0.0.1", **given: Any) -> Any:
    """Return a server of gRPC that nobody calls."""
    settings = CollectorSettings(grpc_port=port, address=address, **given)
    nobody: Any = None
    room = Room(1, "requests", "too many")
    return server(Edge(settings, nobody, nobody, Meters(), room), room, 1)


@pytest.mark.parametrize("compression", list(grpc.Compression))
def test_a_call_may_be_compressed_in_each_way_of_grpc(compression: grpc.Compression) -> None:
    """As exporters of OpenTelemetry may be told to; what comes in is the same."""
    (port,) = free_ports(1)

    async def call(at: Asked) -> bytes:
        one = server(at.edge, at.app.room, 4)
        await one.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", compression=compression) as to:
            found: bytes = await to.unary_unary(EXPORT)(REQUEST, timeout=120)
        await one.stop(None)
        return found

    with asked(grpc_port=port) as at:
        assert asyncio.run(call(at)) == b""
        assert at.meters.taken_events == {"spans": 20}
        received, inflated = at.meters.received_bytes["spans"], at.meters.inflated_bytes["spans"]
        assert inflated == len(REQUEST)
        is_plain = compression is grpc.Compression.NoCompression
        assert (received == inflated) if is_plain else (received < inflated)


async def contend() -> None:
    """Take the port that each line of the input names, say how it went, and give it back."""
    while line := sys.stdin.readline():
        try:
            one = made(int(line))
        except ConfigError as error:
            print(json.dumps(str(error)), flush=True)
            sys.stdin.readline()
        else:
            await one.start()
            print(json.dumps(""), flush=True)
            sys.stdin.readline()
            await one.stop(None)


def contender() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.collector.test_rpc"],
        cwd=ROOT,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def say(one: "subprocess.Popen[str]", line: object) -> None:
    assert one.stdin is not None
    one.stdin.write(f"{line}\n")


def refused(port: int, **given: Any) -> str:
    """Return what is said of a port that cannot be had."""

    async def try_it() -> str:
        with pytest.raises(ConfigError) as caught:
            made(port, **given)
        return str(caught.value)

    return asyncio.run(try_it())


def heard(one: "subprocess.Popen[str]") -> str:
    assert one.stdout is not None
    return str(json.loads(one.stdout.readline()))


def test_of_two_that_start_at_once_one_has_the_port() -> None:
    """And the other is told so, though the port may have been free when it looked."""
    outcomes = []
    with contender() as one, contender() as other:
        for port in free_ports(ROUNDS):
            for each in (one, other):
                say(each, port)
            outcomes.append((port, heard(one), heard(other)))
            for each in (one, other):
                say(each, "next")
        for each in (one, other):
            each.communicate("")
    for port, *said in outcomes:
        assert said.count("") == 1, outcomes
        has, other_said = (one, said[1]) if said[0] == "" else (other, said[0])
        assert other_said.startswith(f"{NAME}: 127.0.0.1:{port}: is taken: "), outcomes
        assert f"process {has.pid} listens there" in other_said, outcomes


def test_a_name_is_listened_on_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one of them taken the port is refused: callers might reach the wrong one."""
    (port,) = free_ports(1)
    resolved = socket.getaddrinfo

    def both(host: str, *given: Any, **named: Any) -> list[Any]:
        hosts = ["127.0.0.1", "127.0.0.2"] if host == "two.example" else [host]
        return [found for each in hosts for found in resolved(each, *given, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with socket.create_server(("127.0.0.2", port)):
        said = refused(port, address="two.example")
    assert f"two.example:{port}: is taken: process {os.getpid()} " in said

    async def reached() -> None:
        one = made(port, "two.example")
        await one.start()
        for host in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((host, port)).close()
        await one.stop(None)

    asyncio.run(reached())


def test_files_of_tls_that_are_none_are_named(tmp_path: Path) -> None:
    """The port is not at fault."""
    (tmp_path / "pem").write_text("no certificate", encoding="utf-8")
    (port,) = free_ports(1)
    pem = tmp_path / "pem"
    said = refused(port, tls_certificate_file=pem, tls_key_file=pem)
    assert (
        "SPANLOOM_COLLECTOR_TLS_CERTIFICATE_FILE and SPANLOOM_COLLECTOR_TLS_KEY_FILE must" in said
    )


if __name__ == "__main__":
    asyncio.run(contend())
