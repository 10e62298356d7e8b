"""Somebody is erased from everything, whatever ends it, and nobody else is."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.codec.records import decode, encode
from streams.console.access.audit_log import AccessLog
from streams.console.archive.archive import Archive
from streams.console.archive.erasing import Erased, HeldError, erase
from streams.console.archive.ids import groups, wanted
from streams.console.archive.kinds import KIND
from streams.console.archive.retention import Hold, read_holds
from streams.console.archive.store import Store
from streams.console.archive.tail import Limits
from streams.console.paths.erasure import Erasure, erased, paths
from streams.console.paths.path import ConflictError
from streams.core.privacy.pseudonyms import ERASED
from streams.errors import ConfigError
from streams.runtime import topics
from streams.runtime.reading import Message
from tests.unit.console.at_hand import HOUR_MS, T0_US, TELEMETRY, Clock, trace
from tests.unit.console.canaries import PRIVACY, TEXTS, full, leaks, messages, octets

PERSON = TEXTS["actor"]
PSEUDONYMS = PRIVACY.pseudonyms.all_of(PERSON)
RECORD = PRIVACY.pseudonyms.of(TEXTS["record_id"])
OTHERS = ("bob", "carol")


def filled(folder: Path, *, clock: Clock | None = None) -> Archive:
    """Return an archive of canaries and others in several files and the tail."""
    archive = Archive(
        Store(str(folder)),
        Limits(rows=7, merge_files=2),
        telemetry=(TELEMETRY,),
        clock=clock or Clock(),
        privacy=PRIVACY,
    )
    archive.take(*messages())
    chance = random.Random(3)
    for n in range(100, 112):
        actor = chance.choice((PERSON, *OTHERS))
        one = full("log", n, actor=actor)
        values = [(TELEMETRY, encode("telemetry_event", one))]
        spans = [full("span", n, actor=actor, trace_id=f"{n:032x}")]
        values.append((topics.TRACES, encode("assembled_trace", trace(f"{n:032x}", spans=spans))))
        for topic, value in values:
            archive.take(Message(topic, 0, n, T0_US // 1000 + n, None, value))
    return archive


def rows(archive: Archive) -> dict[str, list[Any]]:
    """Return all rows of all kinds, their bytes decoded, in order."""
    found = {}
    for kind in KIND:
        look = archive.look(kind)
        some = look.tail.to_pylist()
        if look.files:
            some += archive.dataset(look.files, KIND[kind].schema).to_table().to_pylist()
        for row in some:
            if row.get("value"):
                row["value"] = decode(row["value"])
                if kind == "rejected" and row["value"]["value"]:
                    row["value"]["value"] = decode(row["value"]["value"])
        found[kind] = sorted(map(repr, some))
    return found


def without(before: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return rows as they are when the person is erased."""
    return {
        kind: sorted(row.replace(PSEUDONYMS[0], ERASED) for row in some)
        for kind, some in before.items()
    }


def test_nothing_of_a_person_is_left(tmp_path: Path) -> None:
    """In files, in memory, in lists of ids; all else is as it was, row by row."""
    archive = filled(tmp_path)
    before = rows(archive)
    found = erase(archive, PSEUDONYMS, [])
    assert set(found.rows) == {"traces", "spans", "events", "alerts", "incidents", "rejected"}
    assert found.files > 3
    after = rows(archive)
    assert after == without(before)
    assert erase(archive, PSEUDONYMS, []) == Erased({}, 0)
    archive.write_due(all_of_it=True)
    assert leaks(octets(tmp_path), PSEUDONYMS) == []
    assert ERASED in repr(after)
    assert PRIVACY.pseudonyms.of("bob") in repr(after)


def test_ids_are_found_after_one_is_erased(tmp_path: Path) -> None:
    """The lists beside the files lead to all other rows, and no longer to the person's."""
    archive = filled(tmp_path)
    archive.write_due(all_of_it=True)
    asked = {"record_id": [RECORD]}, {"trace_id": ["ab" * 16, f"{101:032x}"]}
    by_trace = len(archive.look("spans", ids=asked[1]).tail)
    assert len(archive.look("events", ids=asked[0]).tail) > 10
    erase(archive, [RECORD], [])
    assert len(archive.look("events", ids=asked[0]).tail) == 0
    assert len(archive.look("spans", ids=asked[1]).tail) == by_trace == 3
    for one in archive.every_file():
        list_ = Store(str(tmp_path))._lists.of(one)
        if list_ is not None:
            columns = {name: [RECORD] for name in KIND[one.kind].ids}
            assert groups(list_, wanted(columns)) == [], one
    assert rows(archive) == rows(Archive(Store(str(tmp_path)), Limits(), telemetry=(TELEMETRY,)))


def test_merged_files_are_erased_before_they_go(tmp_path: Path) -> None:
    """Those that wait to be removed too: nobody knows for how long."""
    clock = Clock()
    archive = filled(tmp_path, clock=clock)
    archive.write_due(all_of_it=True)
    assert archive.merge(T0_US + 3 * HOUR_MS * 1000)
    erase(archive, PSEUDONYMS, [])
    assert leaks(octets(tmp_path), PSEUDONYMS) == []
    clock.now += 1_000
    archive.merge(T0_US)
    assert leaks(octets(tmp_path), PSEUDONYMS) == []


def test_under_a_hold_nothing_is_changed(tmp_path: Path) -> None:
    """It is refused as a whole, by the hold's number and reason; a hold of others is none."""
    archive = filled(tmp_path)
    before = rows(archive)
    holds = read_holds(
        "- {start: 2025-10-01, end: 2025-10-02}\n"
        "- {start: 2025-10-09, end: 2025-10-10, kinds: [alerts], reason: case 17}"
    )
    with pytest.raises(HeldError, match=r"hold 2 \(case 17\) keeps alerts of 2025-10-09T08"):
        erase(archive, PSEUDONYMS, holds)
    assert rows(archive) == before
    assert erase(archive, [PRIVACY.pseudonyms.of("bob")], holds).rows.keys() == {
        "traces", "spans", "events"
    }  # fmt: skip
    with pytest.raises(HeldError, match="hold 1 keeps"):
        erase(archive, PSEUDONYMS, [Hold("2025-10-09T08", "2025-10-09T08", frozenset(KIND))])


KILLED = """
import os, signal, sys
from pathlib import Path
from streams.console.archive import erasing, store
from tests.unit.console.test_erasing import PSEUDONYMS, reopened
put, left = store.Store._put, [3]
def dying(self, path, content):
    left[0] -= 1
    if left[0] < 0:
        (self.folder / (path + ".unfinished")).write_bytes(bytes(content)[:50])
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, path, content)
store.Store._put = dying
erasing.erase(reopened(Path(sys.argv[1])), PSEUDONYMS, [])
"""


def reopened(folder: Path) -> Archive:
    """Return what the next process makes of a folder."""
    return Archive(Store(str(folder)), Limits(), telemetry=(TELEMETRY,), privacy=PRIVACY)


def test_ended_in_the_midst_it_is_finished_by_the_next(tmp_path: Path) -> None:
    """By a kill, by a disk that is full: no row is lost or changed twice, and the rest is done."""
    archive = filled(tmp_path)
    archive.write_due(all_of_it=True)
    before = rows(archive)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    left, put = [0], Store._put

    def full_disk(self: Store, path: str, content: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        put(self, path, content)

    for puts in (1, 2):
        left[0] = puts
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "_put", full_disk)
            with pytest.raises(OSError, match="No space"):
                erase(reopened(tmp_path), PSEUDONYMS, [])
        some = rows(reopened(tmp_path))
        assert without(some) == without(before)
        assert leaks(octets(tmp_path), PSEUDONYMS) != []
    assert erase(reopened(tmp_path), PSEUDONYMS, []).files
    assert leaks(octets(tmp_path), PSEUDONYMS) == []
    assert rows(reopened(tmp_path)) == without(before)


def test_who_comes_again_is_kept_again(tmp_path: Path) -> None:
    """A record that arrives later has the same pseudonym; it is erased by another order."""
    archive = filled(tmp_path)
    erase(archive, PSEUDONYMS, [])
    late = encode("telemetry_event", full("log", 500))
    archive.take(Message(TELEMETRY, 0, 500, T0_US // 1000 + 500, None, late))
    assert PSEUDONYMS[0] in repr(rows(archive)["events"])
    assert erase(archive, PSEUDONYMS, []).rows == {"events": 1}


def test_an_order_is_written_down_without_the_person(tmp_path: Path) -> None:
    """Who, why, how many; neither the value nor a pseudonym of it."""
    log = AccessLog(tmp_path / "log")
    order = Erasure(person=PERSON, reason="request 17")
    assert PERSON not in repr(order)
    assert PERSON not in order.model_dump_json()
    pseudonyms = PRIVACY.pseudonyms
    done = erased(order, "eve", pseudonyms, lambda p: Erased({"events": len(p)}, 3), log)
    assert done == {"rows": {"events": 2}, "files": 3}

    def held(_: Any) -> Erased:
        raise HeldError("hold 1 keeps events")

    with pytest.raises(ConflictError, match="hold 1"):
        erased(order, "eve", pseudonyms, held, log)
    (file,) = (tmp_path / "log").iterdir()
    text = file.read_text("utf-8")
    assert '"reason":"request 17","rows":{"events":2}' in text
    assert '"outcome":"held"' in text
    assert leaks([("log", text.encode())], (PERSON, *PSEUDONYMS)) == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "give one of the two"),
        ({"person": "a", "pseudonym": PSEUDONYMS[0]}, "give one of the two"),
        ({"pseudonym": "alice"}, "pseudonym: is none"),
        ({"person": "Alice", "reason": "alice asked"}, "names the person"),
        ({"person": "bob"}, "no keys"),
    ],
)
def test_a_wrong_order(tmp_path: Path, given: dict[str, Any], fault: str) -> None:
    """Is refused with what is wrong, and nothing is erased."""
    (path,) = paths(None, lambda _: pytest.fail("erased"), AccessLog(tmp_path))
    order = Erasure.model_validate({"reason": "request 17"} | given)
    with pytest.raises(ConfigError, match=fault):
        erased(order, "eve", None, lambda _: pytest.fail("erased"), AccessLog(tmp_path))
    assert (path.role, path.is_order) == ("personal", True)
