"""The page in a real browser: found by role and name, live, quick, and open to everybody."""

import re
import time
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from streams.codec.records import decode, encode
from tests.browser.conftest import (
    AXE_TAGS,
    BIG_SPANS,
    BIG_TRACE,
    HOSTILE,
    HOSTILE_TRACE,
    Looking,
    Stage,
    look,
)
from tests.fault.checks import ALERTS, INCIDENTS
from tests.fault.harness import Feeder, wait_for
from tests.unit.core.incidents.alerts import alert

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1_800)]

VIEWS = {
    "Now": "Pipeline",
    "Traces": "Search traces",
    "Fidelity": "Heat map",
    "Incidents": "Incidents",
    "Record": "",
    "Rejected": "By reason",
    "Catalog": "Modules (6)",
}
"""Name of each view in the navigation, and of a region that only it has."""
LIVE_SECONDS_MAX = 400.0
"""The promise is 2 s on a machine of its own; what was measured is printed."""


def region(page: Page, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True)


def incident_of(stage: Stage) -> str:
    """Return the id of the incident of the lost acknowledgments."""
    found = stage.get("incidents?limit=1000")["incidents"]
    return str(next(i for i in found if "cknowledgment" in i["title"])["incident_id"])


def incomplete(stage: Stage) -> dict[str, Any]:
    """Return a trace that lacks its acknowledgment."""
    query = "traces?start=2000-01-01&end=2100-01-01&status=INCOMPLETE&missing_stage=acknowledgment"
    found: dict[str, Any] = stage.get(query)["traces"][0]
    return found


def test_each_view_is_found_by_its_name(page: Page) -> None:
    """From the navigation one gets to each view, and each shows its own."""
    page.goto("/")
    for name, shown in VIEWS.items():
        link = page.get_by_role("navigation", name="Views").get_by_role("link", name=name)
        link.click()
        expect(link).to_have_attribute("aria-current", "page")
        if shown:
            expect(region(page, shown)).to_be_visible()
        else:
            expect(page.get_by_role("heading", name="Record", exact=True)).to_be_visible()
        expect(page.get_by_text("Loading …")).to_have_count(0)


def test_the_map_shows_the_edge_that_loses(page: Page) -> None:
    """Stages are links, the losing edge has its count, and the incident is listed as open."""
    page.goto("/")
    pipeline = region(page, "Pipeline map")
    expect(pipeline.get_by_role("link", name="connection: ALPHA")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    expect(region(page, "Open incidents").get_by_role("link", name="cknowledgment")).to_be_visible()
    page.get_by_role("group", name="Flow").get_by_role("button", name="batch").click()
    expect(pipeline.get_by_role("link", name="batch_transfer")).to_be_visible()
    assert page.url.endswith("?flow=batch")
    page.reload()
    expect(pipeline.get_by_role("link", name="batch_transfer")).to_be_visible()


def test_the_health_of_each_module_is_told(page: Page, stage: Stage) -> None:
    """A word for each module of the contract, a link to its incidents, and one for the whole."""
    page.goto("/")
    health = region(page, "Health")
    modules = health.get_by_role("list", name="Health of modules").get_by_role("listitem")
    expect(modules).to_have_count(6)
    expect(health.get_by_role("status")).to_have_text(re.compile("HEALTHY|DEGRADED|UNKNOWN"))
    # Acknowledgments were lost, of which an incident is open.
    place = next(
        name
        for name, one in stage.get("pipeline/health")["module_health"].items()
        if incident_of(stage) in one["incident_ids"]
    )
    shown = modules.filter(has=page.get_by_text(place, exact=True))
    expect(shown).to_contain_text(re.compile("DEGRADED|UNHEALTHY"))
    expect(shown).to_contain_text("work needs it")
    shown.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"/incidents.*module={place}"))


def test_a_trend_that_began_empty_fills(page: Page) -> None:
    """A page that was open before the first window draws what the news tell."""
    page.route("**/api/v1/fidelity?*", lambda route: route.fulfill(json={"series": []}))
    page.goto("/")
    quarter = region(page, "The last quarter of an hour")
    expect(quarter.get_by_label("Traces and incomplete traces a second")).to_be_visible()


def test_an_injected_fault_is_seen_live(page: Page, stage: Stage) -> None:
    """An alert raised now is an incident on the open page moments later, without a reload."""
    page.goto("/")
    there = region(page, "Open incidents")
    expect(there.get_by_role("link", name="cknowledgment")).to_be_visible()
    title = f"odd kind at LIVE{time.time_ns() % 1_000_000}"
    raised = alert("odd_kind", title.rpartition(" ")[2], time.time(), explanation=title)
    began = time.monotonic()
    with Feeder(stage.deployment.broker) as feeder:
        feeder.send_bytes(ALERTS, raised["fingerprint"].encode(), encode("alert", raised), 0)
    # The title is the worker's; the module is the alert's own.
    shown = there.get_by_role("listitem").filter(has_text=raised["module"])
    expect(shown).to_be_visible(timeout=LIVE_SECONDS_MAX * 1000)
    took, seen_ms = time.monotonic() - began, time.time() * 1000
    told_ms = min(
        message.timestamp_ms
        for message in stage.deployment.read(INCIDENTS)
        if decode(message.value)["module"] == raised["module"]
    )
    console_s = (seen_ms - told_ms) / 1000
    print(f"seen {took:.2f} s after the alert was sent, {console_s:.2f} s after it was an incident")
    assert took < LIVE_SECONDS_MAX


def test_a_trace_shows_what_never_came(page: Page, stage: Stage) -> None:
    """From a search to the trace: the missing stage is a row where it should be, with its cause."""
    trace = incomplete(stage)
    page.goto("/traces?range=24h&status=INCOMPLETE&missing_stage=acknowledgment")
    page.get_by_role("link", name=trace["trace_id"][:16]).click()
    expect(region(page, "What is missing")).to_contain_text("acknowledgment")
    expect(region(page, "What is missing")).to_contain_text("owner output-team")
    rows = page.get_by_role("listbox", name="Spans")
    gap = rows.get_by_role("option", name="missing: gamma.acknowledge")
    gap.click()
    expect(gap).to_have_attribute("aria-selected", "true")
    expect(region(page, "Chosen span")).to_contain_text("NEVER_ARRIVED")
    rows.press("Home")
    expect(rows.get_by_role("option", name="alpha.connect")).to_have_attribute(
        "aria-selected", "true"
    )
    rows.press("ArrowDown")
    second = next(
        s for s in stage.get(f"traces/{trace['trace_id']}")["spans"] if s["name"] == "alpha.parse"
    )
    expect(page).to_have_url(re.compile(f"span={second['span_id']}"))
    page.reload()  # the address says which span
    expect(rows.get_by_role("option", name="alpha.parse")).to_have_attribute(
        "aria-selected", "true"
    )
    rows.press("ArrowLeft")
    expect(rows.get_by_role("option")).to_have_count(2)  # what hangs below it is closed


def test_the_critical_path_goes_through_all_modules(page: Page, stage: Stage) -> None:
    """Marked is what the interface answers, from the first stage to the last, with its waits."""
    trace = next(
        one
        for one in stage.get("traces?start=2000-01-01&end=2100-01-01&status=COMPLETE")["traces"]
        if one["flow"] == "record"
    )
    found = stage.get(f"traces/{trace['trace_id']}")
    path = {one["span_id"]: one for one in found["critical_path"]}
    told = [event for event in found["spans"] if event["event_type"] == "TRACE"]
    names = [span["name"] for span in told if span["span_id"] in path]
    assert {"alpha.connect", "beta.transform_fields", "gamma.deliver"} <= set(names)
    assert sum(one["own_us"] + one["waited_us"] for one in path.values()) == found["duration_us"]
    page.goto(f"/traces/{trace['trace_id']}")
    rows = page.get_by_role("listbox", name="Spans")
    marked = rows.get_by_role("option", name="on the critical path")
    expect(marked).to_have_count(len(names))
    rows.get_by_role("option", name="gamma.deliver").click()
    chosen = region(page, "Chosen span")
    expect(chosen).to_contain_text("On the critical path")
    expect(chosen).to_contain_text("after a wait of")


def test_ten_thousand_spans_are_a_few_rows(page: Page) -> None:
    """Only what is in sight is in the document, from the first span to the last."""
    page.goto(f"/traces/{BIG_TRACE}")
    rows = page.get_by_role("listbox", name="Spans")
    expect(rows.get_by_role("option", name="step 0,")).to_be_visible()
    assert rows.get_by_role("option").count() < 120
    rows.press("End")
    expect(rows.locator("[aria-selected=true]")).to_be_visible()
    last = page.evaluate("document.querySelector('[aria-selected=true]').id")
    assert last == f"fall-{BIG_SPANS - 1}"
    assert rows.get_by_role("option").count() < 120
    frames = page.evaluate(
        """async () => {
          const box = document.querySelector(".falls");
          const found = [];
          let before = performance.now();
          for (let n = 0; n < 60; n++) {
            box.scrollTop = (n * box.scrollHeight) / 60;
            await new Promise(requestAnimationFrame);
            const now = performance.now();
            found.push(now - before);
            before = now;
          }
          return found.sort((a, b) => a - b);
        }"""
    )
    print(f"a frame of scrolling took {frames[30]:.1f} ms at the median, {frames[-1]:.1f} at most")


def test_orders_on_an_incident(page: Page, stage: Stage) -> None:
    """Acknowledge: the order is carried out and seen, or the page says who else takes it."""
    id_ = incident_of(stage)
    page.goto(f"/incidents/{id_}")
    expect(region(page, "Likely causes")).to_be_visible()
    orders = region(page, "Orders")
    orders.get_by_role("button", name="Acknowledge").click()
    expect(orders.get_by_role("status")).to_contain_text("Say who you are")
    orders.get_by_label("You are").fill("kim")
    orders.get_by_label("Reason").fill("on it")
    path = "/api/v1/incidents/{incident_id}/commands"
    takes_orders = path in stage.get("openapi.json")["paths"]
    orders.get_by_role("button", name="Acknowledge").click()
    if not takes_orders:
        expect(orders.get_by_role("status")).to_contain_text("spanloom incident ack")
        done = stage.deployment.cli("incident", "ack", id_, "--reason", "on it", "--actor", "kim")
        assert done.returncode == 0, done.stderr
    expect(region(page, "Summary")).to_contain_text("taken by kim", timeout=240_000)
    told = region(page, "What became of it").get_by_role("listitem")
    expect(told.filter(has_text=re.compile("acknowledged", re.I)).first).to_be_visible()
    taken = orders.get_by_role("button", name="Acknowledge")
    expect(taken).to_have_attribute("aria-disabled", "true")
    expect(taken).to_be_focused()
    expect(taken).to_have_accessible_description("kim has acknowledged it already.")
    words = ("incident", "silence", id_, "--for", "1h", "--reason", "a restart", "--actor", "lee")
    done = stage.deployment.cli(*words, "--wait")
    assert done.returncode == 0, done.stderr
    expect(region(page, "Summary")).to_contain_text("silenced by lee until", timeout=240_000)
    expect(region(page, "What became of it")).to_contain_text("a restart")
    stage.deployment.cli("incident", "unsilence", "--incident", id_, "--reason", "done")
    if takes_orders:
        expect(orders.get_by_role("status")).to_have_text(re.compile("Done: ack.*, by kim"))
        orders.get_by_label("Into").fill("f" * 32)
        orders.get_by_role("button", name="Merge").click()
        expect(orders.get_by_role("status")).to_contain_text("Refused by the worker")


def test_any_id_is_found_by_the_keyboard(looking: Looking, stage: Stage) -> None:
    """`/` and an id lead to the record's history; what nobody knows is said in words."""
    looking.is_asking_for_what_is_not_there = True
    page, trace = looking.page, incomplete(stage)
    page.goto("/catalog")
    expect(region(page, "Modules (6)")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(trace["record_ids"][0])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"Record {trace['record_ids'][0]}")).to_be_visible()
    history = page.get_by_role("region", name="History", exact=True)
    expect(history.get_by_role("cell", name="alpha.connect")).to_be_visible()
    page.get_by_role("searchbox", name="Search any id").fill(trace["batch_ids"][0])
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name=trace["trace_id"][:16])).to_be_visible()
    page.get_by_role("searchbox", name="Search any id").fill("nobody-knows")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing is known of nobody-knows")).to_be_visible()


def test_help_and_themes(page: Page) -> None:
    """`?` opens the help, the switch turns the theme and stays turned."""
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    back = "getComputedStyle(document.documentElement).backgroundColor"
    before = page.evaluate(back)
    page.get_by_role("button", name="Switch between dark and light").click()
    after = page.evaluate(back)
    assert after != before
    page.reload()
    assert page.evaluate(back) == after


def test_hostile_text_is_text(page: Page) -> None:
    """Names and dimensions out of telemetry are shown letter by letter, and do nothing."""
    page.goto(f"/traces/{HOSTILE_TRACE}")
    expect(page.get_by_role("listbox", name="Spans")).to_contain_text(HOSTILE)
    expect(region(page, "Chosen span")).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.title() != "1"
    # However long a name is, the values beside it stay readable, and a time is not cut.
    assert page.evaluate("document.documentElement.scrollWidth") <= 1_280
    ends = """[...document.querySelectorAll(".fall .time")].map((one) =>
      one.closest(".lane").getBoundingClientRect().right - one.getBoundingClientRect().right)"""
    assert min(page.evaluate(ends)) >= 0


def test_rejected_records_are_told_by_reason(page: Page) -> None:
    """A record that is no event is counted by its reason, and can be looked at one by one."""
    page.goto("/rejected")
    reasons = region(page, "By reason").get_by_role("table")
    expect(reasons.get_by_role("link")).not_to_have_count(0)
    reasons.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("reason="))
    events = region(page, "Rejected events")
    expect(events.get_by_role("cell", name="telemetry.alpha.v1").first).to_be_visible()
    expect(events.get_by_role("button", name="Send again").first).to_be_visible()


def test_an_absent_id_is_said_in_words(looking: Looking) -> None:
    """A trace that nobody knows, and a view that there is not."""
    looking.is_asking_for_what_is_not_there = True
    for name, noun, link in (
        ("traces", "trace", "Search traces"),
        ("incidents", "incident", "All incidents"),
    ):
        looking.page.goto(f"/{name}/{'0' * 31}f")
        told = looking.page.get_by_role("alert")
        expect(told).to_contain_text(f"There is no {noun} {'0' * 31}f.")
        expect(told).to_contain_text("older than what is kept")
        expect(told.get_by_role("link", name=link)).to_have_attribute("href", f"/{name}")
    expect(looking.page.get_by_role("button", name="Try again")).to_be_visible()
    looking.page.goto("/bogus")
    expect(looking.page.get_by_role("alert")).to_contain_text("There is no page /bogus")
    looking.page.get_by_role("link", name="Go to Now").click()
    expect(region(looking.page, "Pipeline map")).to_be_visible()


def test_a_signal_is_found_as_it_is_typed(page: Page) -> None:
    """The list opens by itself, with what fits."""
    page.goto("/catalog")
    signals = page.get_by_role("region", name="Signals", exact=True)
    expect(signals).to_have_count(0)
    page.get_by_label("Find by name or what it says").press_sequentially("latency")
    expect(signals.get_by_text("latency").first).to_be_visible()


def test_a_dead_console_is_said_to_be_away(chromium: Browser, stage: Stage) -> None:
    """What was heard last stays, and the page says that it is old."""
    looking = look(chromium, stage.url)
    page = looking.page
    page.goto("/")
    state = page.get_by_role("status").filter(has_text="live")
    expect(state).to_be_visible()
    # What is asked for and not answered yet would be waited for: the view has to stand first.
    expect(region(page, "Pipeline map")).to_be_visible()
    (console,) = [w for w in stage.deployment.workers if "console" in str(w.out)]
    console.pause()
    try:
        expect(page.get_by_text("no news for")).to_be_visible(timeout=120_000)
        expect(page.get_by_text("The console does not tell anything")).to_be_visible()
        expect(region(page, "Pipeline map")).to_be_visible()
    finally:
        console.resume()
    page.context.close()
    wait_for(lambda: stage.get("health") is not None, 30, console.tail, console)


def test_a_view_that_cannot_be_asked_for_opens_by_itself(chromium: Browser, stage: Stage) -> None:
    """What was shown stays, in words it is said that nobody answers, and then it is there."""
    looking = look(chromium, stage.url)
    page = looking.page
    page.goto("/")
    expect(region(page, "Pipeline map")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Incidents").click()
    expect(page.get_by_role("alert")).to_contain_text("The console does not answer")
    expect(page.get_by_role("note")).to_contain_text("Incidents opens by itself")
    expect(region(page, "Pipeline map")).to_be_visible()
    page.context.set_offline(False)
    expect(region(page, "Incidents").get_by_role("link", name="cknowledgment")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.context.close()


def test_a_part_of_the_page_that_did_not_come_is_asked_for_again(
    chromium: Browser, stage: Stage
) -> None:
    """No browser's own words for it are shown, and another try brings it."""
    looking = look(chromium, stage.url)
    page = looking.page
    page.route("**/views/catalog.js*", lambda route: route.abort())
    page.goto("/")
    expect(region(page, "Pipeline map")).to_be_visible()
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Catalog").click()
    expect(page.get_by_role("alert")).to_contain_text("This part of the page did not come")
    expect(page.get_by_text("dynamically imported")).to_have_count(0)
    page.unroute("**/views/catalog.js*")
    page.get_by_role("button", name="Try again").click()
    expect(region(page, "Modules (6)")).to_be_visible()
    page.context.close()


def test_the_keyboard_keeps_its_place(page: Page, stage: Stage) -> None:
    """The focus stays where it was when a form is drawn anew, and goes to a view that is new."""
    focused = "document.activeElement.getAttribute('name') ?? document.activeElement.tagName"
    page.goto("/fidelity")
    page.get_by_role("combobox", name="Of").focus()
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile("kind=module"))
    expect(region(page, "Lost by modules and time")).to_be_visible()
    assert page.evaluate(focused) == "kind"
    page.keyboard.press("Escape")
    page.goto("/catalog")
    expect(region(page, "Modules (6)")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(region(page, "Incidents").get_by_role("link", name="cknowledgment")).to_be_visible()
    page.keyboard.press("j")
    expect(region(page, "Incidents").get_by_role("link").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(region(page, "Summary")).to_be_visible()
    assert page.evaluate(focused) == "MAIN"


def test_back_from_an_incident_leads_to_its_row(page: Page, stage: Stage) -> None:
    """The link that led there has the focus again, in the list and on Now."""
    for path, name in (("/incidents", "Incidents"), ("/", "Open incidents")):
        page.goto(path)
        link = region(page, name).get_by_role("link", name="cknowledgment").first
        link.focus()
        page.keyboard.press("Enter")
        expect(region(page, "Summary")).to_be_visible()
        page.go_back()
        expect(link).to_be_focused()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_serious_accessibility_fault(chromium: Browser, stage: Stage, theme: str) -> None:
    """Axe finds nothing serious or critical in any view."""
    looking = look(chromium, stage.url, color_scheme=theme)
    faults = []
    paths = ["/", "/traces", "/fidelity", "/incidents", "/rejected", "/catalog"]
    paths += [f"/traces/{incomplete(stage)['trace_id']}", f"/incidents/{incident_of(stage)}"]
    paths += [f"/records/{incomplete(stage)['record_ids'][0]}"]
    for path in paths:
        looking.page.goto(path)
        expect(looking.page.get_by_text("Loading …")).to_have_count(0)
        looking.page.wait_for_timeout(500)
        options = {"runOnly": AXE_TAGS, "resultTypes": ["violations"]}
        for found in Axe().run(looking.page, options=options).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                where = [node["target"] for node in found["nodes"][:3]]
                faults.append((path, found["id"], found["help"], where))
    looking.page.context.close()
    assert faults == []


def test_a_phone_scrolls_one_way(chromium: Browser, stage: Stage) -> None:
    """At 390 pixels no view is wider than the screen."""
    looking = look(chromium, stage.url, viewport={"width": 390, "height": 844}, has_touch=True)
    trace = incomplete(stage)
    paths = ["/", "/traces", "/fidelity", "/incidents", "/rejected", "/catalog", "/records"]
    paths += [f"/traces/{trace['trace_id']}", f"/incidents/{incident_of(stage)}"]
    paths += [f"/records/{trace['record_ids'][0]}", f"/traces/{HOSTILE_TRACE}"]
    wide = {}
    for path in paths:
        looking.page.goto(path)
        expect(looking.page.get_by_text("Loading …")).to_have_count(0)
        looking.page.wait_for_timeout(500)
        if (width := looking.page.evaluate("document.documentElement.scrollWidth")) > 390:
            wide[path] = width
    looking.page.context.close()
    assert wide == {}
