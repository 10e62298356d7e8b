"""The page's pure modules, run by a real browser: the tree of a trace, the map, the heat map."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette

from streams.console.paths.catalog import catalog_of
from streams.console.site import routes
from streams.contract.loader import load_contract
from tests.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1_800)]
BEGIN = "2026-11-26T08:00:00.{:06d}Z"


@pytest.fixture(scope="module")
def modules(chromium: Browser) -> Iterator[Page]:
    """Yield a page that can import the modules; nothing else of the console runs."""
    port = free_port()
    config = uvicorn.Config(Starlette(routes=routes()), port=port, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    page = chromium.new_page()
    while not server.started:
        thread.join(0.05)
    page.goto(f"http://127.0.0.1:{port}/assets/favicon.svg")  # of the same origin, without the page
    yield page
    page.close()
    server.should_exit = True
    thread.join(20)


def run(page: Page, module: str, body: str, given: Any = None) -> Any:
    """Return what a function's body gives for `it`, the module, and `given`."""
    return page.evaluate(
        f"async (given) => {{ const it = await import('/assets/{module}'); {body} }}", given
    )


def span(id_: str, parent: str, start_us: int, end_us: int, **fields: Any) -> dict[str, Any]:
    return {
        "span_id": id_, "parent_span_id": parent, "timestamp": BEGIN.format(start_us),
        "duration_us": end_us - start_us, "event_type": "TRACE", "event_id": id_, "name": id_,
        "module": "M", "operation": "", "actor": "",
    } | fields  # fmt: skip


def trace(spans: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "start": BEGIN.format(0), "duration_us": 100, "spans": spans, "missing": [], "stages": [],
        "critical_path": [],
    } | fields  # fmt: skip


def test_the_critical_path_is_what_the_interface_says(modules: Page) -> None:
    """Rows are marked by their id alone; of a span told twice the first one, and no missing one."""
    spans = [
        span("root", "", 0, 100),
        span("long", "root", 40, 95),
        span("twice", "root", 1, 2),
        span("twice", "root", 3, 4, event_id="again"),
    ]
    body = """
      const { roots } = it.build(given, null);
      return it.rows(roots, new Set()).map(({ span }) => [span.id, span.critical ?? null]);
    """
    path = [
        {"span_id": "root", "own_us": 45, "waited_us": 0},
        {"span_id": "twice", "own_us": 1, "waited_us": 7},
    ]
    assert run(modules, "tree.js", body, trace(spans, critical_path=path)) == [
        ["root", path[0]], ["twice", path[1]], ["twice/again", None], ["long", None],
    ]  # fmt: skip


def test_rows_go_by_parent_and_time(modules: Page) -> None:
    """Each span stands below its parent, the earlier one first; what is closed hides its own."""
    spans = [
        span("b", "a", 30, 40),
        span("a", "", 0, 90),
        span("c", "a", 10, 20),
        span("d", "b", 31, 33),
    ]
    body = """
      const { roots } = it.build(given, null);
      const list = (closed) =>
        it.rows(roots, new Set(closed)).map((row) => [row.span.id, row.depth]);
      return [list([]), list(["b"])];
    """
    opened, closed = run(modules, "tree.js", body, trace(spans))
    assert opened == [["a", 0], ["c", 1], ["b", 1], ["d", 2]]
    assert closed == [["a", 0], ["c", 1], ["b", 1]]


def test_a_missing_stage_stands_where_it_should_be(modules: Page) -> None:
    """From the end of the stage before it to the begin of the next that came, as its child."""
    (flow, *_) = catalog_of(load_contract("seed"))["flows"]
    spans = [
        span("a", "", 0, 10, name="alpha.connect"),
        span("c", "a", 40, 50, name="alpha.validate"),
    ]
    gap = {
        "span_id": "", "module": "ALPHA", "component": "parser", "name": "alpha.parse",
        "from_stage": "connection", "to_stage": "parser", "cause": "NEVER_ARRIVED",
    }  # fmt: skip
    stages = [
        {"stage": "connection", "start": BEGIN.format(0), "duration_us": 10, "count": 1},
        {"stage": "validation", "start": BEGIN.format(40), "duration_us": 10, "count": 1},
    ]
    body = """
      const { spans } = it.build(given.trace, given.flow);
      const gap = [...spans.values()].find((span) => span.missing);
      return [gap.start, gap.end, gap.parent.id];
    """
    given = {"trace": trace(spans, missing=[gap], stages=stages), "flow": flow}
    assert run(modules, "tree.js", body, given) == [10, 40, "a"]


def test_what_is_missing_at_the_end_can_be_seen(modules: Page) -> None:
    """Behind the last span that came a missing one is drawn beyond it, within the time shown."""
    gap = {
        "span_id": "", "module": "M", "component": "", "name": "m.last", "from_stage": "near",
        "to_stage": "far", "cause": "NEVER_ARRIVED",
    }  # fmt: skip
    stages = [{"stage": "near", "start": BEGIN.format(0), "duration_us": 100, "count": 1}]
    body = """
      const tree = it.build(given, null);
      const gap = [...tree.spans.values()].find((span) => span.missing);
      return [gap.start, gap.end, tree.end];
    """
    given = trace([span("near", "", 0, 100)], missing=[gap], stages=stages)
    assert run(modules, "tree.js", body, given) == [100, 106, 106]


def test_a_parent_that_never_came_takes_its_child(modules: Page) -> None:
    """Where a child names what is missing, it hangs below the hatched span."""
    gap = {
        "span_id": "lost", "module": "M", "component": "", "name": "", "from_stage": "",
        "to_stage": "", "cause": "ORPHANED",
    }  # fmt: skip
    body = """
      const { roots } = it.build(given, null);
      return it.rows(roots, new Set()).map((row) => [row.span.id, row.depth]);
    """
    given = trace([span("child", "lost", 5, 9)], missing=[gap])
    assert run(modules, "tree.js", body, given) == [["missing-0", 0], ["child", 1]]


def test_no_trace_is_too_odd_to_be_shown(modules: Page) -> None:
    """Spans that are each other's parent, or told twice, or before the trace: each is one row."""
    spans = [
        span("x", "y", 5, 9),
        span("y", "x", 6, 8),
        span("self", "self", 1, 2),
        span("twice", "", 1, 2),
        span("twice", "", 3, 4, event_id="again"),
    ]
    body = "const t = it.build(given, null); return it.rows(t.roots, new Set()).length;"
    assert run(modules, "tree.js", body, trace(spans)) == len(spans)
    assert run(modules, "tree.js", body, trace([])) == 0


def test_the_map_has_no_two_stages_in_one_place(modules: Page) -> None:
    """Each stage of each shipped flow stands in its module's lane, after those before it."""
    for name in ("seed", "inference"):
        for flow in catalog_of(load_contract(name))["flows"]:
            body = """
              const plan = it.layout(given);
              return [...plan.nodes].map(([id, { x, y, lane }]) =>
                [id, x, y, lane.module, lane.y, lane.height]);
            """
            places = run(modules, "pipeline.js", body, flow)
            stages = {stage["id"]: stage for stage in flow["stages"]}
            assert {place[0] for place in places} == set(stages)
            x = {id_: at for id_, at, *_ in places}
            for id_, _, y, module, top, height in places:
                assert module == stages[id_]["module"]
                assert top < y < top + height
                assert all(x[near] < x[id_] for near in stages[id_]["after"])
            boxes = [(at, y) for _, at, y, *_ in places]
            for n, (ax, ay) in enumerate(boxes):
                assert all(abs(ax - bx) >= 100 or abs(ay - by) >= 40 for bx, by in boxes[:n])


def test_a_colour_says_how_far_below_its_objective_an_edge_is(modules: Page) -> None:
    """Nothing expected is idle; then within, below, ten times the budget, under nine tenths."""
    cases = [(0, 0), (1000, 1000), (1000, 998), (1000, 980), (1000, 800)]
    body = """return given.map(([expected, observed]) => it.grade(
      { expected, observed, ratio: expected ? observed / expected : null, slo_ratio: 0.999 }));"""
    found = run(modules, "pipeline.js", body, cases)
    assert found == ["idle", "well", "worn", "lossy", "broken"]


def test_columns_of_the_heat_map_lose_nothing(modules: Page) -> None:
    """Windows are summed into whole columns; sums of all cells are those of all windows."""
    windows = [
        {"window_start": f"2026-11-26T08:{n // 6:02d}:{n % 6 * 10:02d}Z", "window_us": 10_000_000,
         "expected": n, "observed": n - n % 2}
        for n in range(200)
    ]  # fmt: skip
    body = """
      const { starts, stepUs, cells } = it.bucket([{ windows: given }], 60);
      const row = [...cells.values()][0];
      const sum = (name) => row.reduce((all, cell) => all + cell[name], 0);
      return [starts.length, stepUs, sum("expected"), sum("observed")];
    """
    columns, step_us, expected, observed = run(modules, "buckets.js", body, windows)
    assert (columns, step_us) == (50, 40_000_000)
    assert expected == sum(one["expected"] for one in windows)
    assert observed == sum(one["observed"] for one in windows)


def test_columns_hold_whole_windows_of_every_length(modules: Page) -> None:
    """Where old times are told by minute, a column is as long as these, whichever comes first."""
    old = [
        {"window_start": f"2026-11-26T08:{n:02d}:00Z", "window_us": 60_000_000,
         "expected": 6, "observed": 5}
        for n in range(4)
    ]  # fmt: skip
    new = [
        {"window_start": f"2026-11-26T08:04:{n:02d}Z", "window_us": 1_000_000,
         "expected": 1, "observed": 1}
        for n in range(30)
    ]  # fmt: skip
    body = """
      const { starts, stepUs, cells } = it.bucket(given.map((windows) => ({ windows })), 60);
      const rows = [...cells.values()].map((row) => row.map((cell) => cell.expected));
      return [starts.map((us) => us / 6e7 % 60), stepUs, rows];
    """
    minutes, step_us, rows = run(modules, "buckets.js", body, [new, old])
    assert (minutes, step_us) == ([0, 1, 2, 3, 4], 60_000_000)
    assert rows == [[0, 0, 0, 0, 30], [6, 6, 6, 6, 0]]


def test_a_long_range_is_asked_for_in_steps(modules: Page) -> None:
    """Where each window would be too many: 60 steps at most, from a whole one on."""
    found = run(
        modules,
        "range.js",
        """return given.map((hours) => {
          const end = new Date(Date.parse("2026-11-26T08:17:23Z") + 60e3).toISOString();
          const start = new Date(Date.parse("2026-11-26T08:17:23Z") - hours * 3600e3).toISOString();
          return it.stepped({ start, end });
        })""",
        [1, 6, 24, 168, 720],
    )
    assert [one.get("step") for one in found] == [None, 600, 1_800, 10_800, 43_200]
    assert found[0]["start"] == "2026-11-26T07:17:23.000Z"
    assert found[1]["start"] == "2026-11-26T02:10:00.000Z"
    assert found[2]["start"] == "2026-11-25T08:00:00.000Z"


def test_no_time_above_a_column_touches_the_next(modules: Page) -> None:
    """Times of 30 pixels, with seconds 55, above columns of 11, or 44 where they are few."""
    body = "return given.map(([n, isFew, hasSeconds]) => it.labelled(n, isFew, hasSeconds));"
    cases = [[n, n <= 24, seconds] for n in range(1, 61) for seconds in (False, True)]
    for (_, few, seconds), every in zip(
        cases, run(modules, "buckets.js", body, cases), strict=True
    ):
        assert every * (44 if few else 11) > (55 if seconds else 30)


def test_a_note_stands_where_it_has_room(modules: Page) -> None:
    """Beside its bar on the side with more of it, and within a bar that leaves none on either."""
    cases = [[200, 0], [0, 200], [0, 5], [50, 50], [70, 60]]
    body = "return given.map(([before, behind]) => it.noteSide(before, behind));"
    assert run(modules, "tree.js", body, cases) == ["before", "behind", *["within"] * 2, "before"]


def test_what_is_missing_stays_in_the_order_of_its_flow(modules: Page) -> None:
    """Twelve stages that were lost in one gap: the tenth does not come before the second."""
    gaps = [
        {"span_id": "", "module": "M", "component": "", "name": f"m.{n}", "from_stage": "near",
         "to_stage": "far", "cause": "NEVER_ARRIVED"}
        for n in range(12)
    ]  # fmt: skip
    stages = [{"stage": "near", "start": BEGIN.format(0), "duration_us": 100, "count": 1}]
    body = """
      const { roots } = it.build(given, null);
      return it.rows(roots, new Set()).map((row) => row.span.missing?.name ?? row.span.id);
    """
    given = trace([span("near", "", 0, 100)], missing=gaps, stages=stages)
    assert run(modules, "tree.js", body, given) == ["near", *(f"m.{n}" for n in range(12))]


def test_values_are_written_as_people_read_them(modules: Page) -> None:
    """Shares are never rounded up to all, times keep their microseconds."""
    body = """return [it.percent(0.99999), it.percent(1), it.percent(0.5), it.duration(1500),
      it.duration(59_999), it.duration(61_000_000), it.micros("2026-11-26T08:00:00.000123Z") % 1000,
      it.percent(null), it.duration(null), it.plain(650.0000000000716), it.plain(14.4),
      it.withTimes("up to 2001-11-27T16:52:04Z (LATE 65)"), it.utc(""), it.counted(1, "span"),
      it.counted(1234, "span"), it.counted(0, "error"), it.roughly(419e6), it.roughly(7_500e6)];"""
    assert run(modules, "format.js", body) == [
        "99.999 %", "100 %", "50.0 %", "1.50 ms", "60.0 ms", "1 min 01 s", 123, *["\u2013"] * 2,
        "650", "14.4", "up to 2001-11-27 16:52:04 UTC (LATE 65)", "\u2013",
        "1 span", "1,234 spans", "0 errors", "6 min", "2 h 05 min",
    ]  # fmt: skip


def test_a_source_stands_before_what_it_feeds(modules: Page) -> None:
    """Columns go from left to right along every edge; a late source stands late."""
    body = """
      const nodes = [...new Set(given.flat())].map((id) => ({ id }));
      const edges = given.map(([from, to]) => ({ from, to }));
      return Object.fromEntries(it.columnsOf(nodes, edges));
    """
    chain = [["in", "a"], ["a", "b"], ["b", "c"], ["lookup", "c"], ["in", "b"]]
    found = run(modules, "graph.js", body, chain)
    assert found == {"in": 0, "a": 1, "b": 2, "lookup": 2, "c": 3}
    assert set(run(modules, "graph.js", body, [["x", "y"], ["y", "x"]])) == {"x", "y"}


def test_the_trend_is_by_the_second(modules: Page) -> None:
    """Windows of any length and order become rates, by time."""
    body = "return it.columns(new Map(given));"
    windows = [
        [10_000_000, {"expected": 50, "observed": 40, "window_us": 10_000_000}],
        [5_000_000, {"expected": 10, "observed": 10, "window_us": 5_000_000}],
    ]
    assert run(modules, "trend.js", body, windows) == [[5, 10], [2, 5], [0, 1]]


def test_none_is_open_only_as_far_as_was_read(modules: Page) -> None:
    """None is open when nothing waits to be read; what is known to be open is told in any case."""
    nothing = "\N{EN DASH}"
    none: dict[str, Any] = {"open": [], "is_more": False}
    some = {"open": [{"severity": "WARN"}, {"severity": "ERROR"}], "is_more": True}
    read = {"waits_for": "", "lag_records": 3}
    waits = read | {"waits_for": "the first look at the broker", "lag_records": 0}
    behind = read | {"lag_records": 20_000}
    cases = [
        [None, None], [none, None], [none, waits], [none, behind], [None, read],
        [none, read], [some, waits], [some, read],
    ]  # fmt: skip
    body = "return given.map(([data, health]) => it.openIncidents(data, health, true));"
    found = run(modules, "open.js", body, cases)
    assert found[:5] == [
        [nothing, "not known yet", "idle"],
        [nothing, "not known yet", "idle"],
        [nothing, "not known: waits for the first look at the broker", "idle"],
        [nothing, "not known yet: records to read", "idle"],
        [nothing, "not known yet", "idle"],
    ]
    assert found[5:] == [["0", "none is open", "well"], *[["2+", "1 error", "lossy"]] * 2]
    # Silence is not called well, and what is critical is as red as it is in the list.
    grave: dict[str, Any] = {"open": [{"severity": "WARN"}, {"severity": "CRITICAL"}]}
    body = "return given.map((data) => it.openIncidents(data, { lag_records: 0 }, false));"
    assert run(modules, "open.js", body, [none, grave]) == [
        ["0", "but no telemetry arrives", "idle"],
        ["2", "1 critical", "broken"],
    ]


def test_what_health_says_in_words(modules: Page) -> None:
    """Cascades, what is beyond its threshold, what will be; a stable indicator says nothing."""
    about = {"module": "BETA", "component": "transform", "flow": "", "unit": "us"}
    about |= {"indicator_type": "LATENCY_SPIKE", "current_value": 1_500.0, "threshold": 2_000.0}
    cascade = {"module": "GAMMA", "from_module": "BETA", "path": ["BETA", "INTEGRATION", "GAMMA"]}
    flow = {"module": "", "component": "", "flow": "record", "unit": "per_second"}
    flow |= {"indicator_type": "THROUGHPUT_DECLINE", "current_value": 3.0, "threshold": 5.0}
    data = {
        "cascades": [cascade],
        "predictive_indicators": [
            flow | {"time_to_threshold": 0.0},
            about | {"time_to_threshold": 250.4},
            about | {"time_to_threshold": None},
        ],
    }
    assert run(modules, "health.js", "return it.sentences(given);", data) == [
        "GAMMA has its trouble from BETA: BETA → INTEGRATION → GAMMA",
        "flow record: throughput beyond its threshold (3.00/s, threshold 5.00/s)",
        "BETA transform: time at its threshold in 4 min 10 s (1.50 ms, threshold 2.00 ms)",
    ]
    more = {"cascades": [cascade] * 9, "predictive_indicators": []}
    assert run(modules, "health.js", "return it.sentences(given).at(-1);", more) == "and 3 more"


def test_why_nothing_can_be_ordered_is_said(modules: Page) -> None:
    """Of each order that cannot be given the reason, and none of one that can."""
    body = """
      const who = (...may) => ({ may, login: "keys" });
      const open = { event: "OPENED", acknowledged_by: "" };
      const of = (incident, may, ...commands) =>
        commands.map((one) => it.hindrance(one, { ...open, ...incident }, who(...may)));
      return [
        of({}, ["operator"], "ack", "resolve", "merge", "silence", "unsilence"),
        of({}, ["viewer"], "ack", "merge"),
        of({ acknowledged_by: "kim" }, ["operator"], "ack", "resolve"),
        of({ event: "RESOLVED", acknowledged_by: "kim" }, ["operator"], "ack", "silence"),
        of({ event: "MERGED" }, ["operator"], "resolve"),
        [it.hindrance("ack", open, who("viewer"), "the demonstration is over")],
      ];
    """
    role = "You may look on; orders need the role operator, or admin."
    over = "It is resolved: there is nothing to order any more."
    assert run(modules, "orders.js", body) == [
        ["", "", "", "", ""],
        [role, role],
        ["kim has acknowledged it already.", ""],
        [over, over],
        ["It went into another incident: give orders to that one."],
        ["No orders are taken: the demonstration is over."],
    ]


def test_what_a_trace_is_made_of_is_said(modules: Page) -> None:
    """Spans of modules, and what stands among them without being one."""
    body = """
      const of = (annotations, synthetic, repeated) =>
        it.madeOf({ span_count: 16, events_in_spans: { annotations, synthetic, repeated } });
      return [of(0, 0, 0), of(3, 1, 2)];
    """
    assert run(modules, "tree.js", body) == [
        "16 spans",
        "16 spans, 3 logs, audit entries and metrics, 1 synthetic, "
        "2 under a span id that came before",
    ]
