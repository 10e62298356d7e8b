"""The Nezha reader keeps every row, in the order of time, and refuses what is no recording."""

import io
import os
import tarfile
import uuid
from pathlib import Path

import pytest

from streams.codec.nezha import nezha_events, read_nezha
from streams.errors import ConfigError

HEADER = (
    "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n"
)
GATE_POD = "ts-gate-service-6f6cfc45b-h5m2n"
ORDER_POD = "ts-order-service-1-2"
ROOT = f"aa,01,root,{GATE_POD},/*,2000000,9000000,7000\n"
CHILD = f'aa,02,01,{ORDER_POD},"SELECT a, b",3000000,4000000,1000\n'
EARLY = f"bb,03,root,{GATE_POD},/*,1000000,1500999,500\n"


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """Write a tar.xz of plain files."""
    with tarfile.open(path, "w:xz") as out:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            out.addfile(info, io.BytesIO(body))
    return path


def test_a_row_becomes_a_span_of_its_service(tmp_path: Path) -> None:
    """Pod name less two parts is the module; `root` is no parent; times are microseconds."""
    (tmp_path / "08_43_trace.csv").write_text(HEADER + ROOT + CHILD)
    (frame,) = read_nezha(tmp_path)
    assert frame.rows() == [
        ("aa", "01", "", "ts-gate-service", "service", "/*", GATE_POD, 2000, 7000),
        ("aa", "02", "01", "ts-order-service", "service", "SELECT a, b", ORDER_POD, 3000, 1000),
    ]


def test_rows_come_in_the_order_of_time_and_files_in_the_order_of_minutes(tmp_path: Path) -> None:
    """Neither the order of rows nor of members decides the order of spans."""
    members = {"./10_01_trace.csv": ROOT, "./09_59_trace.csv": CHILD + EARLY, "./x.txt": "x"}
    path = archive(
        tmp_path / "trace.tar.xz",
        {name: (HEADER + rows).encode() for name, rows in members.items()},
    )
    for source in (path, tmp_path):
        frames = list(read_nezha(source))
        assert [f["span_id"].to_list() for f in frames] == [["03", "02"], ["01"]]


def test_a_repeated_row_stays_and_repeats_its_event(tmp_path: Path) -> None:
    """The reader drops nothing: the second delivery has the first one's event id."""
    (tmp_path / "08_43_trace.csv").write_text(HEADER + ROOT + CHILD + ROOT)
    events = list(nezha_events(tmp_path))
    assert [e["span_id"] for e in events] == ["01", "01", "02"]
    assert {**events[0], "value": 0} == {**events[1], "value": 0}  # NaN equals nothing
    assert events[0]["event_id"] != events[2]["event_id"]
    assert uuid.UUID(events[0]["event_id"]).version == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("TraceID,SpanID\n1,2\n", "ParentID is missing"),
        (HEADER + "aa,01,root,p-1-2,/*,soon,9,7\n", "08_43_trace.csv"),
        (HEADER + ",01,root,p-1-2,/*,1,9,7\n", "row 2 has no trace_id"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file and what is wrong in it."""
    (tmp_path / "08_43_trace.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        list(read_nezha(tmp_path))


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    """Nothing to read is an error of the caller, not an empty recording."""
    with pytest.raises(ConfigError, match="no HH_MM_trace"):
        list(read_nezha(tmp_path))
    with pytest.raises(ConfigError, match="no such"):
        list(read_nezha(tmp_path / "absent"))


def test_a_member_that_leaves_the_archive_is_refused(tmp_path: Path) -> None:
    """A path that climbs out, or a link, is no recording."""
    path = archive(tmp_path / "a.tar.xz", {"../08_43_trace.csv": HEADER.encode()})
    with pytest.raises(ConfigError, match="plain file"):
        list(read_nezha(path))
    with tarfile.open(tmp_path / "b.tar.xz", "w:xz") as out:
        link = tarfile.TarInfo("08_43_trace.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        out.addfile(link)
    with pytest.raises(ConfigError, match="plain file"):
        list(read_nezha(tmp_path / "b.tar.xz"))


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    """Half an archive is an error, never half a recording."""
    path = archive(tmp_path / "a.tar.xz", {"08_43_trace.csv": (HEADER + ROOT * 999).encode()})
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ConfigError, match="tar"):
        list(read_nezha(path))


def test_the_real_recording_has_every_row() -> None:
    """328,848 rows, 7,780 of them repeated, in 84 minutes, as its README counts them."""
    data = os.environ.get("SPANLOOM_DATA", str(Path(__file__).parents[4] / "shared" / "data"))
    path = Path(data) / "nezha-trainticket-0129"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frames = list(read_nezha(path))
    assert len(frames) == 84
    assert sum(map(len, frames)) == 328_848
    starts = [f["timestamp_us"][0] for f in frames]
    assert starts == sorted(starts)


def test_a_minute_without_a_trace_may_be_an_empty_file(tmp_path: Path) -> None:
    """It has no rows, and is no reason to refuse the others."""
    (tmp_path / "08_43_trace.csv").write_text("")
    (tmp_path / "08_44_trace.csv").write_text(HEADER + ROOT)
    assert [frame.height for frame in read_nezha(tmp_path)] == [0, 1]


def test_bad_rows_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    """A file that was cut short, a time that is none; without being asked it is refused."""
    odd = EARLY.replace("1000000", "soon") + ROOT[:20] + "\n" + CHILD.rstrip("\n") + ",more\n"
    (tmp_path / "08_43_trace.csv").write_text(HEADER + ROOT + odd)
    (frame,) = read_nezha(tmp_path, skip_bad_rows=True)
    assert frame["span_id"].to_list() == ["01", "02"]
    with pytest.raises(ConfigError):
        list(read_nezha(tmp_path))
