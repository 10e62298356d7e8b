"""Back, Forward and a reload lead to where one was, in a list of a console that is made up here."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from streams.console.paths.catalog import catalog_of
from streams.console.site import routes
from streams.contract.loader import load_contract
from tests.browser.served import served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1_800)]
TRACES = 250
START = "2026-11-26T08:00:00.000000Z"
ROW: dict[str, Any] = {
    "revision": 1, "flow": "record", "status": "COMPLETE", "closed_by": "contract", "start": START,
    "end": START, "duration_us": 1_000, "span_count": 0, "error_count": 0, "missing_stages": [],
    "modules": ["ALPHA"], "record_ids": [], "batch_ids": [], "correlation_ids": [],
}  # fmt: skip


def trace_id(number: int) -> str:
    return f"{number:016x}{0:016x}"


async def listed(request: Request) -> Response:
    """Answer as many as are asked for, from where the token says."""
    begin = int(request.query_params.get("continuation_token", "0"))
    end = min(TRACES, begin + int(request.query_params["limit"]))
    rows = [ROW | {"trace_id": trace_id(n)} for n in range(begin, end)]
    return JSONResponse({"traces": rows, "continuation_token": str(end) if end < TRACES else ""})


async def one(request: Request) -> Response:
    """Answer a trace without spans."""
    counts = dict.fromkeys(("orphan_count", "evicted_count", "annotation_count"), 0)
    lists: dict[str, Any] = {
        name: [] for name in ("spans", "missing", "stages", "critical_path", "revisions")
    }
    in_spans = dict.fromkeys(("spans", "annotations", "synthetic", "repeated"), 0)
    found = ROW | counts | lists | {"events_in_spans": in_spans}
    return JSONResponse(found | {"trace_id": request.path_params["id"]})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the address of a console that has traces alone."""
    catalog = catalog_of(load_contract("seed"))

    async def told(_: Request) -> Response:
        return JSONResponse(catalog)

    paths = [
        Route("/api/v1/catalog", told),
        Route("/api/v1/openapi.json", lambda _: JSONResponse({"paths": {}})),
        Route("/api/v1/live", lambda _: Response(": none\n\n", media_type="text/event-stream")),
        Route("/api/v1/traces", listed),
        Route("/api/v1/traces/{id}", one),
        *routes(),
    ]
    with served(Starlette(routes=paths)) as address:
        yield address


@pytest.fixture
def page(chromium: Browser, url: str) -> Iterator[Page]:
    """Yield a page; fail when its scripts did."""
    page = chromium.new_page(base_url=url, viewport={"width": 1280, "height": 600})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


def test_back_leads_to_the_row_that_one_came_from(page: Page) -> None:
    """As far down, with the rows that were asked for: by Back, Forward and Back, and a reload."""
    page.goto("/traces?range=24h")
    page.get_by_role("button", name="Show more").click()
    link = page.get_by_role("link", name=trace_id(140)[:16], exact=True)
    link.focus()
    page.wait_for_function("scrollY > 1000")
    top = page.evaluate("scrollY")
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", name=trace_id(140))
    expect(heading).to_be_visible()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(link).to_be_focused()
    page.wait_for_function(f"Math.abs(scrollY - {top}) <= 1")
    page.go_forward()
    expect(heading).to_be_visible()
    page.go_back()
    expect(link).to_be_focused()
    page.reload()
    expect(link).to_be_focused()
    page.wait_for_function(f"Math.abs(scrollY - {top}) <= 1")


def test_a_view_that_one_was_not_in_begins_at_its_top(page: Page) -> None:
    """Also where the list before was scrolled; and a filter stays where the hand is."""
    page.goto("/traces")
    page.get_by_role("link", name=trace_id(90)[:16], exact=True).focus()
    page.wait_for_function("scrollY > 500")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Record", exact=True)).to_be_visible()
    assert page.evaluate("scrollY") == 0
    page.goto("/traces")
    status = page.get_by_role("combobox", name="Status")
    status.focus()
    status.select_option("BROKEN")
    page.wait_for_url("**status=BROKEN**")
    expect(page.get_by_role("link", name=trace_id(0)[:16], exact=True)).to_be_visible()
    expect(status).to_be_focused()
    page.go_back()
    page.wait_for_url("**/traces")


def test_the_skip_link_goes_to_the_content_alone(page: Page) -> None:
    """It draws nothing anew, and no step of the history is of it."""
    page.goto("/traces")
    expect(page.get_by_role("link", name=trace_id(0)[:16], exact=True)).to_be_visible()
    before = page.evaluate("history.length")
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.evaluate("history.length") == before
    assert "#" not in page.url
