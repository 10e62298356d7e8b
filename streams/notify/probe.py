"""A test incident on its way to one target, step by step: name, address, TLS, answer.

Owns what is said of each step. It is a connection of its own for the first steps, so that a failure
says where it happened, and then the very request that an incident would make.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from streams.contract.addresses import address_allowed
from streams.contract.notify import Notify, Target
from streams.notify.http import failure_words, tls_context
from streams.notify.rules.book import Incident
from streams.notify.secrets import Credentials
from streams.notify.senders import make_sender
from streams.runtime.clock import wall_us
from streams.runtime.link import Link

TEST_INCIDENT: Final = "00000000000000000000000000000000"
"""Its id: no incident has it."""


@dataclass(slots=True)
class Step:
    """One step: its name, whether it went well, what there is to say, and how long it took."""

    step: str
    ok: bool
    text: str
    seconds: float = 0.0


@dataclass(slots=True)
class Report:
    """What happened to a test incident.

    Attributes:
        target: id.
        ok: whether the target took it.
        steps: in order; the last is the reason when it did not.
    """

    target: str
    kind: str
    ok: bool = False
    steps: list[Step] = field(default_factory=list)

    def plain(self) -> Mapping[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def example_incident() -> Incident:
    """Return the incident that a test sends: marked, of no module, asking nobody to act."""
    now = wall_us()
    return {
        "incident_id": TEST_INCIDENT,
        "version": 1,
        "event": "OPENED",
        "algorithm": "test",
        "timestamp": now,
        "opened_at": now,
        "resolved_at": 0,
        "title": "Test of Spanloom's delivery: nothing is wrong, nothing is to be done",
        "severity": "INFO",
        "module": "TEST",
        "from_stage": "",
        "to_stage": "",
        "kinds": ["test"],
        "owner": "nobody",
        "channel": "",
        "playbook": "",
        "alerts": [],
        "trace_ids": [],
        "record_ids": [],
        "blast_radius": {"records": 0, "flows": [], "modules": [], "downstream": []},
        "alerts_in": 0,
        "alerts_suppressed": 0,
        "contract_version": "",
    }


async def probe(notify: Notify, target: Target, credentials: Credentials, link: Link) -> Report:
    """Send the test incident to a target and say what happened; never raises for a receiver."""
    report = Report(target.id, target.kind)
    for url in credentials.urls:
        await _reach(report, target, url)
    began = time.monotonic()
    sender = make_sender(notify, target, credentials, link)
    async with sender:
        attempt = await sender.send(example_incident(), is_test=True)
        if target.format == "pagerduty" and attempt.outcome == "delivered":
            # There a trigger stays until it is resolved.
            over = {
                **example_incident(),
                "event": "RESOLVED",
                "version": 2,
                "resolved_at": wall_us(),
            }
            attempt = await sender.send(over, is_test=True)
    seconds = time.monotonic() - began
    report.ok = attempt.outcome == "delivered"
    where = f"topic {target.topic}" if target.topic else f"status {attempt.status or 'none'}"
    text = f"{attempt.outcome}, {where}"
    text += f": {attempt.why}" if attempt.why else ""
    answer = credentials.hidden(attempt.answer)  # some receivers repeat what they refuse
    text += f"; it said {answer!r}" if answer and not report.ok else ""
    report.steps.append(Step("send", report.ok, text, seconds))
    for name, why in sender.replicas().items():
        report.steps.append(Step(f"replica {name}", not why, why or "took it"))
    return report


async def _reach(report: Report, target: Target, url: str) -> None:
    """Add the steps up to a connection; stops at the first that fails."""
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    began = time.monotonic()
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(
            loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), target.timeout_seconds
        )
    except (OSError, TimeoutError) as error:
        why = failure_words(error, host, target.timeout_seconds)[1]
        report.steps.append(Step("dns", False, why, time.monotonic() - began))
        return
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    text = f"{host} is {', '.join(addresses)}"
    report.steps.append(Step("dns", True, text, time.monotonic() - began))
    allowed = [a for a in addresses if _is_allowed(a, target)]
    if not allowed:
        text = "none of them is public; add its network to allow_networks if that is meant"
        report.steps.append(Step("address", False, text))
        return
    context = tls_context(target) if is_tls else None
    await _connect(report, target, host, (allowed[0], port), context)


def _is_allowed(address: str, target: Target) -> bool:
    bare = address.partition("%")[0]
    return address_allowed(ipaddress.ip_address(bare), target.allow_networks)


async def _connect(
    report: Report,
    target: Target,
    host: str,
    where: tuple[str, int],
    context: ssl.SSLContext | None,
) -> None:
    began = time.monotonic()
    name = host if context is not None else None
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(*where, ssl=context, server_hostname=name),
            target.timeout_seconds,
        )
    except (OSError, TimeoutError) as error:
        step = "tls" if isinstance(error, ssl.SSLError) else "connect"
        why = failure_words(error, host, target.timeout_seconds)[1]
        if step == "connect" and error.strerror:
            why = f"cannot connect to {where[0]} port {where[1]}: {error.strerror}"
        report.steps.append(Step(step, False, why, time.monotonic() - began))
        return
    seconds = time.monotonic() - began
    try:
        report.steps.append(Step("connect", True, f"{where[0]} port {where[1]}", seconds))
        secured = writer.get_extra_info("ssl_object")
        if secured is not None:
            until = (secured.getpeercert() or {}).get("notAfter", "unknown")
            text = f"{secured.version()}, certificate of {host} until {until}"
            report.steps.append(Step("tls", True, text))
        elif context is None:
            report.steps.append(Step("tls", True, "none: the url is http://"))
    finally:
        writer.close()
