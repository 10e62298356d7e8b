"""The book of access: whole lines, on the disk, bounded, without secrets."""

import json
import stat
import threading
from pathlib import Path

import pytest

from streams.console.access.audit_log import MINUTE_US, NOTES_PER_MINUTE, AccessLog
from streams.errors import StateError
from tests.unit.console.asking import Wall, asked


def lines(folder: Path) -> list[dict[str, object]]:
    files = sorted(folder.glob("access-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    """Each is one write at the end; the next day has a file of its own."""
    wall = Wall()
    log = AccessLog(tmp_path, wall)

    def write(n: int) -> None:
        for k in range(20):
            log.write("login", "allowed", actor=f"{n}/{k} \u2028 line\nend", how="key", key_id="")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    wall.now_us += 86_400_000_000
    log.write("logout", "asked", actor="x")
    assert len({str(line["actor"]) for line in lines(tmp_path)}) == 81
    assert "key_id" not in lines(tmp_path)[0]
    first, second = sorted(tmp_path.iterdir())
    assert len(second.read_text().splitlines()) == 1
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_a_stranger_cannot_fill_the_disk(tmp_path: Path) -> None:
    """Beyond so many a minute refusals are counted, and the book says how many are missing."""
    wall = Wall()
    log = AccessLog(tmp_path, wall)
    for _ in range(NOTES_PER_MINUTE + 25):
        log.refused("key_unknown", client="192.0.2.1", path="/" + "x" * 5_000)
    assert len(lines(tmp_path)) == NOTES_PER_MINUTE
    assert len(str(lines(tmp_path)[0]["path"])) < 1_200
    assert log.unwritten["too_many"] == 25
    assert log.events["refusal", "key_unknown"] == NOTES_PER_MINUTE + 25
    wall.now_us += MINUTE_US
    log.refused("role")
    assert [(n["event"], n.get("count")) for n in lines(tmp_path)[-2:]] == [
        ("not_written", 25),
        ("refusal", None),
    ]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """An error for what must be written down; a refusal goes on, and is counted."""
    (tmp_path / "file").write_text("")
    log = AccessLog(tmp_path / "file")
    with pytest.raises(StateError, match="Operator action"):
        log.write("login", "allowed", actor="a")
    log.refused("role")
    assert log.unwritten["disk"] == 1


def test_without_a_folder_decisions_are_counted_alone() -> None:
    """On the loopback, where nobody logs in and the archive is a bucket."""
    log = AccessLog(None)
    log.write("order", "asked", actor="console")
    assert log.events["order", "asked"] == 1


def test_a_refusal_has_no_text_of_the_path_that_was_asked(tmp_path: Path) -> None:
    """A path may hold an id, misspelt or not: the book has its description, or that it is none."""
    with asked(tmp_path) as console:
        for path in ("/api/v1/record/anna", "/api/v1/traces/anna", "/api/v1/records/anna/b"):
            assert console.ask(path, key="wrong").status_code == 401
        paths = [line["path"] for line in console.written() if line["event"] == "refusal"]
    assert "anna" not in "".join(paths)
    assert paths[0] == "(unknown)"
    assert all(path.startswith("/api/v1/") and "{" in path for path in paths[1:]), paths
