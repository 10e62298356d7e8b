"""Hundreds of incidents, names that nobody chose for a page, and silence: what is seen of them.

The console is made up here, as it takes hours to get a real one so badly off.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from streams.console.paths.catalog import catalog_of
from streams.console.site import routes
from streams.contract.loader import load_contract
from tests.browser.served import served
from tests.browser.test_places import ROW, START

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
INCIDENTS = 200
LONG = "a_name_without_any_place_to_break_it_" * 6
TURNED = "report_\u202egnp.exe"
"""A mark in it turns what follows: a browser shows report_exe.png."""
WIDTHS = (390, 640, 1280)
"""A phone, a window of 1280 pixels at twice the size, and that window."""
PATHS = ("/", "/incidents", "/records/name", "/traces/" + "a" * 32)


def _incident(number: int) -> dict[str, Any]:
    names = [LONG, TURNED]
    name = names[number] if number < len(names) else f"MODULE{number}"
    is_named = number < len(names)
    severity = "CRITICAL" if is_named else ("WARN", "ERROR", "CRITICAL")[number % 3]
    opened = START.replace("2026-11-26", "2026-11-27") if is_named else START
    return {
        "incident_id": f"{number:032x}", "title": f"odd kind at {name}", "severity": severity,
        "event": "OPENED", "module": name, "owner": "", "opened_at": opened, "version": 1,
    }  # fmt: skip


OPEN = [_incident(number) for number in range(INCIDENTS)]
STATUS = {"CRITICAL": "UNHEALTHY", "ERROR": "DEGRADED", "WARN": "HEALTHY"}
HEALTH = {
    "overall_status": "UNHEALTHY", "cascades": [], "predictive_indicators": [],
    "module_health": {
        one["module"]: {
            "status": STATUS[one["severity"]],
            "components": {}, "upstream_impact": 0.25, "downstream_risk": 0.5,
        }
        for one in OPEN
    },
}  # fmt: skip
NEWS = {
    "health": {"waits_for": "", "lag_records": 0, "unreadable": {"telemetry.alpha.v1": 3}},
    "incidents": {"open": OPEN, "recent": OPEN, "is_more": True},
    "pipeline": HEALTH,
}
CALM = {
    "health": NEWS["health"],
    "incidents": {"open": [], "recent": [], "is_more": False},
    "pipeline": HEALTH | {"overall_status": "UNKNOWN", "module_health": {}},
}
EVENT: dict[str, Any] = {
    "event_id": "e", "trace_id": "a" * 32, "span_id": "1" * 16, "parent_span_id": "",
    "timestamp": START, "module": "ALPHA", "component": LONG, "event_type": "TRACE",
    "severity": "INFO", "name": LONG, "value": None, "unit": "", "dimensions": {TURNED: LONG},
    "record_id": LONG, "batch_id": LONG, "correlation_id": LONG, "operation": TURNED,
    "actor": "~k1:3fvmgetpzfy76q3mpskezbbfj4", "duration_us": 900, "status": "OK",
    "span_kind": "SERVER", "trace_flags": 1, "links": [],
}  # fmt: skip
TRACE = ROW | {
    "trace_id": "a" * 32, "orphan_count": 0, "evicted_count": 0, "annotation_count": 0,
    "spans": [EVENT], "stages": [], "critical_path": [], "revisions": [],
    "events_in_spans": {"spans": 1, "annotations": 0, "synthetic": 0, "repeated": 0},
    "missing": [{
        "name": "gamma.acknowledge", "span_id": "", "parent_span_id": "1" * 16, "module": "GAMMA",
        "component": "", "from_stage": "delivery", "to_stage": "acknowledgment",
        "cause": "NEVER_ARRIVED", "expected_at": START,
    }],
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "openapi.json": {"paths": {}},
    "fidelity": {"series": []},
    "incidents": {"incidents": OPEN[:100], "continuation_token": "more"},
    "records/name": {"traces": [TRACE], "incidents": OPEN[:3], "entries": [EVENT]},
    "traces/" + "a" * 32: TRACE,
}


def _told(path: str, answer: Any) -> Route:
    return Route(f"/api/v1/{path}", lambda _: JSONResponse(answer))


def _live(_: Request) -> Response:
    async def told() -> Any:
        for name, data in NEWS.items():
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"
        await asyncio.sleep(600)

    return StreamingResponse(told(), media_type="text/event-stream")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the address of a console of a very bad night."""
    catalog = catalog_of(load_contract("seed"))
    paths = [_told(path, answer) for path, answer in (ANSWERS | {"catalog": catalog}).items()]
    with served(Starlette(routes=[*paths, Route("/api/v1/live", _live), *routes()])) as address:
        yield address


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    """Yield a page; fail when its scripts did."""
    page = chromium.new_page(base_url=url, viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


def _news(page: Page, news: dict[str, Any]) -> None:
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in news.items())
    answer = {"body": body, "content_type": "text/event-stream"}
    page.route("**/api/v1/live", lambda route: route.fulfill(**answer))


def test_of_hundreds_the_worst_are_seen(page: Page) -> None:
    """The strip and the list on Now stay short, the worst first, and say how many others are."""
    page.goto("/")
    modules = page.get_by_role("list", name="Health of modules").get_by_role("listitem")
    expect(modules).to_have_count(12)
    expect(modules.get_by_text("UNHEALTHY", exact=True)).to_have_count(12)
    expect(modules.first).to_contain_text("50 % of the other modules' work needs it")
    health = page.get_by_role("region", name="Health", exact=True)
    expect(health).to_contain_text("and 188 more modules: 56 unhealthy, 66 degraded, 66 healthy")
    listed = page.get_by_role("region", name="Open incidents")
    expect(listed.get_by_role("link", name="odd kind")).to_have_count(20)
    expect(listed.get_by_role("link", name="critical")).to_have_count(20)
    expect(listed).to_contain_text("and at least 180 more")
    all_ = listed.get_by_role("link", name="show all that are open")
    expect(all_).to_have_attribute("href", "/incidents?state=open")
    expect(page.get_by_text("records to read; 3 were unreadable")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight") < 3_000


@pytest.mark.parametrize("width", WIDTHS)
def test_no_name_makes_a_page_wider(page: Page, width: int) -> None:
    """Names without a place to break go on in the next line, on each view that shows them."""
    page.set_viewport_size({"width": width, "height": 844})
    wide = {}
    for path in PATHS:
        page.goto(path)
        expect(page.get_by_role("main")).to_contain_text(LONG[:30])
        if (found := page.evaluate("document.documentElement.scrollWidth")) > width:
            wide[path] = found
    assert wide == {}


def test_a_row_of_a_table_stays_low_on_a_phone(page: Page) -> None:
    """A pseudonym is not broken letter by letter: the table scrolls within itself instead."""
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/records/name")
    cell = page.get_by_role("cell", name=EVENT["actor"])
    assert cell.get_by_text(EVENT["actor"]).evaluate("one => one.offsetHeight") < 50


def test_a_name_cannot_show_as_another(page: Page) -> None:
    """Marks that turn the direction of letters are seen as what they are."""
    page.goto("/incidents")
    incidents = page.get_by_role("region", name="Incidents")
    expect(incidents.get_by_text("odd kind at report_⟨202e⟩gnp.exe")).to_be_visible()
    assert "\u202e" not in page.get_by_role("main").inner_text()


def test_who_owns_what_is_missing_is_said(page: Page) -> None:
    """The line of a missing stage names its owner, and the missing is told by colour too."""
    page.goto("/traces/" + "a" * 32)
    lost = page.get_by_role("region", name="What is missing")
    # The flow of the trace is the contract's.
    expect(lost).to_contain_text("gamma.acknowledge of GAMMA (owner output-team)")
    colour = "one => getComputedStyle(one).color"
    name = lost.get_by_text("gamma.acknowledge")
    assert name.evaluate(colour) != page.get_by_role("main").evaluate(colour)


def test_silence_is_not_called_well(page: Page) -> None:
    """No incident is open, but nothing arrives: the figures say so, and what would change it."""
    _news(page, CALM)
    page.goto("/")
    expect(page.get_by_text("but no telemetry arrives")).to_be_visible()
    expect(page.get_by_text("all is well")).to_have_count(0)
    quarter = page.get_by_role("region", name="The last quarter of an hour")
    expect(quarter).to_contain_text("once telemetry arrives")


def test_an_empty_list_says_whether_it_was_narrowed(page: Page) -> None:
    """None at all is other news than none that fits."""
    empty = {"incidents": [], "continuation_token": ""}
    page.route("**/api/v1/incidents?*", lambda route: route.fulfill(json=empty))
    page.goto("/incidents")
    expect(page.get_by_text("There has been no incident yet")).to_be_visible()
    page.goto("/incidents?severity=ERROR")
    expect(page.get_by_text("Take a condition away")).to_be_visible()


def test_an_edge_that_loses_names_owner_and_cause_on_a_phone(page: Page) -> None:
    """What is lost, where, whose it is and why: all of it at 390 pixels."""
    start_us = time.time_ns() // 1_000 - 10_000_000
    start = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(start_us // 1_000_000))}.000000Z"
    scope = {
        "kind": "edge", "flow": "record", "from_stage": "delivery", "to_stage": "acknowledgment",
        "expected": 100, "observed": 40, "ratio": 0.4, "missing": {"NEVER_ARRIVED": 60},
        "slo_ratio": 0.999, "burn_rate_short": 9.0, "burn_rate_long": 9.0,
    }  # fmt: skip
    told = {"window_start": start, "window_us": 2_000_000, "span_us": 60_000_000}
    _news(page, CALM | {"fidelity": told | {"scopes": [scope]}})
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    edge = page.get_by_role("region", name="Edges that lose").get_by_role("link")
    expect(edge).to_contain_text("output-team")
    expect(edge.get_by_text("60 never arrived")).to_be_visible()


def test_one_entry_is_not_called_entries(page: Page) -> None:
    """What is counted has its noun in the right number."""
    page.goto("/records/name")
    expect(page.get_by_role("main")).to_contain_text("History (1 entry)")
