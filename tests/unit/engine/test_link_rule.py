"""Synthetic spans in the join: which one holds, where none may be, and what is counted."""

import json
from dataclasses import replace

import numpy as np

from streams.core.columns import TRACE, Operation, Operations
from streams.core.traces.links import CONTEXT_RESTARTED, LINK_WITHDRAWN, told_by
from streams.core.traces.opentraces import TraceBounds
from streams.core.traces.table import Table
from streams.engine.link_rule import LinkRule
from streams.units import SECOND_US
from tests.join_cases import BEGIN_US, Event, World, at, settings_of, three_stages

AFTER_US = BEGIN_US + 40 * SECOND_US


def link(
    number: int,
    trace: int = 1,
    stages: str = "b,c",
    name: str = CONTEXT_RESTARTED,
    relation: str = "continues_in",
) -> Event:
    """Return a synthetic span of a trace, 45 s after the start."""
    said = {"relation": relation, "stages": stages} if name == CONTEXT_RESTARTED else None
    return Event(
        trace,
        number,
        Operation("BETA", "link", name),
        BEGIN_US,
        kafka_us=AFTER_US + 5 * SECOND_US,
        duration_us=0,
        padding=json.dumps(said or {"relation": relation}),
    )


def world(**changes: object) -> World:
    """Return a world in which trace 1 closed with its first stage only."""
    w = World(three_stages(), settings_of(window_us=10 * SECOND_US, **changes))
    w.feed([at("a", 1, 0)])
    w.tick(AFTER_US)
    w.cut()
    return w


def again(w: World) -> World:
    """Let a reopened trace get its events back and close."""
    w.cut()
    w.recall()
    w.feed()
    w.cut()
    return w


def causes(w: World, trace: int = 1) -> list[str]:
    return [cause for *_, cause in w.final()[trace].missing]


def told(w: World, trace: int = 1) -> list[int]:
    return [event.number for event in w.final()[trace].links]


def test_a_link_gives_the_next_revision_and_no_further_span() -> None:
    """Revision 2 holds it; root, status and counts are those of the module's own spans."""
    w = world()
    assert causes(w) == ["NEVER_ARRIVED"] * 2
    w.feed([link(77)])
    final = again(w).final()[1]
    assert (final.revision, final.status, told(w)) == (2, "INCOMPLETE", [77])
    assert causes(w) == ["CONTEXT_RESTARTED"] * 2
    accounts, reasons = w.task.state.accounting(), w.task.state.reasons
    assert (accounts["accepted"], accounts["joined"], accounts["open"]) == (1, 1, 0)
    assert (reasons["link_accepted"], reasons["link_joined"]) == (1, 1)


def test_what_was_counted_as_lost_is_counted_as_restarted() -> None:
    """The edge's loss keeps its number and changes its cause; nothing is counted twice."""
    w = world()
    w.feed([link(77, stages="b")])
    again(w)
    edges = {k[3]: v for k, v in w.windows(("late", "revisions")).items() if k[1] == "edge"}
    assert edges == {"a": {"expected": 1, "missing.CONTEXT_RESTARTED": 1}}
    modules = [k[5] for k in w.windows() if k[1] == "module"]
    assert "BETA" not in modules, "a module says nothing by what is said of it"


def test_a_repeated_link_gives_no_revision() -> None:
    """The second delivery is a duplicate, like that of any span."""
    w = world()
    w.feed([link(77)])
    again(w).feed([link(77)])
    assert again(w).final()[1].revision == 2
    assert w.task.state.reasons["link_duplicate"] == 1


def test_the_last_link_of_a_relation_holds() -> None:
    """Another link takes the place of the first, whether that was published or not."""
    w = world()
    w.feed([link(77, stages="b")])
    w.feed([link(78, stages="b,c"), link(79, stages="c")])
    again(w)
    assert (told(w), causes(w)) == ([79], ["NEVER_ARRIVED", "CONTEXT_RESTARTED"])
    w.feed([link(80)])
    again(w)
    assert (told(w), causes(w)) == ([80], ["CONTEXT_RESTARTED"] * 2)
    w.feed([link(81, relation="continues_from", stages="")])
    assert sorted(told(again(w))) == [80, 81]
    counted = {k: n for k, n in w.task.state.reasons.items() if k.startswith("link_")}
    assert counted == {"link_accepted": 5, "link_joined": 3, "link_duplicate": 2}


def test_a_withdrawn_link_leaves_nothing_behind() -> None:
    """Told, taken back, told again in one go: it holds; taken back once more, nothing does."""
    w = world()
    w.feed([link(77), link(90, name=LINK_WITHDRAWN), link(77)])
    assert told(again(w)) == [77]
    w.feed([link(91, name=LINK_WITHDRAWN)])
    again(w)
    assert (told(w), causes(w)) == ([], ["NEVER_ARRIVED"] * 2)
    flows = [v for k, v in w.windows(("revisions",)).items() if k[1] == "flow"]
    assert flows == [{"expected": 1}]


def test_a_link_opens_no_trace() -> None:
    """Of a trace that nobody knows, or that is forgotten, it is late; nothing waits for it."""
    w = world(closed_retention_us=60 * SECOND_US)
    w.feed([link(77, trace=9)])
    assert len(w.task.state.open) == 0
    w.tick(BEGIN_US + 200 * SECOND_US)
    w.feed([link(78)])
    w.finish(BEGIN_US + 300 * SECOND_US)
    assert w.final().keys() == {1}
    assert w.final()[1].revision == 1
    assert w.task.state.reasons["link_late"] == 2
    assert w.task.state.accounting()["late"] == 0


def test_a_truncated_trace_takes_no_link() -> None:
    """What comes for a trace beyond its bounds is evicted, links too."""
    w = World(three_stages(), settings_of(bounds=TraceBounds(rows_max=1)))
    w.feed([at("a", 1, 0), at("b", 1, 1)])
    w.tick(AFTER_US)
    w.cut()
    w.feed([link(77)])
    assert w.final()[1].revision == 1
    assert w.task.state.reasons["link_evicted"] == 1


def test_a_link_whose_trace_cannot_be_read_back_is_late() -> None:
    """The revision stays as it was, and the account says so."""
    w = world()
    w.feed([link(77)])
    w.cut()
    w.recall(lost=list(w.published))
    assert w.final()[1].revision == 1
    assert w.task.state.reasons["link_late"] == 1
    assert w.task.state.open_links() == 0


def test_links_are_known_though_names_are_over_their_bound() -> None:
    """A flood of names does not make a module's span of a synthetic one."""
    operations = Operations(limit=20)
    plan = three_stages()
    rule = LinkRule(plan, operations, lambda _: told_by({"name": "", "dimensions": {}}))
    for n in range(40):
        operations.code(Operation("M", "c", f"name-{n}"))
    assert operations.overflowed > 0
    table = Table({"operation": (np.int32, ()), "event_type": (np.uint8, ())}, {})
    codes = [operations.code(Operation("BETA", "link", name)) for name in (CONTEXT_RESTARTED, "x")]
    kinds = np.full(2, TRACE)
    table.append({"operation": np.array(codes), "event_type": kinds}, 2)
    assert rule.among(table, np.arange(2)).tolist() == [False, False], "none has come yet"
    rule.note(np.array(codes, np.int32))
    assert rule.among(table, np.arange(2)).tolist() == [True, False]


def test_a_link_moves_no_clock() -> None:
    """A synthetic span says nothing of how far its topic, or the stream, has come."""
    w = world()
    before = w.task.state.progress.snapshot()
    w.feed([replace(link(77), kafka_us=AFTER_US + 900 * SECOND_US)])
    assert w.task.state.progress.snapshot() == before
