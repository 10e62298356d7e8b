"""The archive as Iceberg tables: each names just the files that there are, come what may."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from streams.console.archive.iceberg import Change, catalog_of, sync
from streams.console.archive.kinds import KIND, KINDS
from streams.errors import ConfigError, StateError
from streams.runtime import topics
from tests.unit.console.at_hand import TELEMETRY, archive_in, event, message, trace


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """Return a catalog in a file, with its tables in a folder."""
    warehouse = tmp_path / "warehouse"
    about = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"}
    return catalog_of("test", about | {"warehouse": f"file://{warehouse}"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an archive of eight files of traces and of events."""
    archive = archive_in(tmp_path / "archive", rows=3)
    for n in range(25):
        archive.take(message(topics.TRACES, n, trace(f"{n:032x}")))
        archive.take(message(TELEMETRY, n, event(dimensions={"number": str(n)})))
    return tmp_path / "archive"


def files(folder: Path, kind: str) -> list[str]:
    """Return the addresses of a kind's files."""
    return sorted(f"file://{path}" for path in (folder / kind).rglob("*.parquet"))


def rows_of(catalog: Any, kind: str) -> list[dict[str, Any]]:
    """Return a table's rows, as any reader of Iceberg would have them."""
    table = catalog.load_table(("spanloom", kind)).scan().to_arrow()
    return sorted(table.to_pylist(), key=lambda row: row["offset"])


def test_a_table_has_what_the_files_have(catalog: Any, folder: Path) -> None:
    """Row by row, lists, maps and bytes included."""
    for kind in ("traces", "events"):
        there = files(folder, kind)
        assert sync(catalog, "spanloom", kind, KIND[kind].schema, there) == Change(8, 0, 8)
        tables = (pyarrow.parquet.read_table(path.removeprefix("file://")) for path in there)
        expected = [row for table in tables for row in table.to_pylist()]
        assert rows_of(catalog, kind) == sorted(expected, key=lambda row: row["offset"])


def test_what_came_and_went_is_followed(catalog: Any, folder: Path) -> None:
    """Files that were written since are taken in, files that were merged away left out."""
    there = files(folder, "traces")
    assert sync(catalog, "spanloom", "traces", KIND["traces"].schema, there[:5]) == Change(5, 0, 5)
    assert sync(catalog, "spanloom", "traces", KIND["traces"].schema, there[:5]) == Change(0, 0, 5)
    assert sync(catalog, "spanloom", "traces", KIND["traces"].schema, there[2:]) == Change(3, 2, 6)
    assert [row["offset"] for row in rows_of(catalog, "traces")] == list(range(6, 24))
    assert sync(catalog, "spanloom", "traces", KIND["traces"].schema, []) == Change(0, 6, 0)
    assert rows_of(catalog, "traces") == []


def test_a_catalog_without_a_place_for_tables_is_refused(tmp_path: Path) -> None:
    """A wrong setting, with what to add; it ended in a traceback."""
    bare = catalog_of("test", {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db"})
    with pytest.raises(ConfigError, match="--catalog warehouse="):
        sync(bare, "spanloom", "traces", KIND["traces"].schema, [])


def test_a_catalog_whose_database_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """Its folder is not there, say."""
    about = {"type": "sql", "uri": f"sqlite:///{tmp_path}/none/catalog.db"}
    with pytest.raises(ConfigError, match="unable to open database file"):
        catalog_of("test", about)


def test_a_column_that_is_new_is_added(catalog: Any, folder: Path) -> None:
    """A table of before has the column from then on; rows of before lack it."""
    there = files(folder, "events")
    schema = KIND["events"].schema
    old = schema.remove(schema.get_field_index("dimensions"))
    sync(catalog, "spanloom", "events", old, [])
    sync(catalog, "spanloom", "events", schema, there)
    assert rows_of(catalog, "events")[7]["dimensions"] == [("number", "7")]


def test_every_kind_fits(catalog: Any) -> None:
    """No column is of a type that Iceberg does not know."""
    for kind in KINDS:
        assert sync(catalog, "spanloom", kind.name, kind.schema, []) == Change(0, 0, 0)


def test_a_file_that_is_gone_is_told(catalog: Any, folder: Path) -> None:
    """It was merged between the look and the run: the next one names another."""
    there = files(folder, "traces")
    Path(there[0].removeprefix("file://")).unlink()
    with pytest.raises(StateError, match="Operator action: run it again"):
        sync(catalog, "spanloom", "traces", KIND["traces"].schema, there)


def test_a_wrong_catalog_is_told() -> None:
    """With the flag."""
    with pytest.raises(ConfigError, match="--catalog"):
        catalog_of("test", {"type": "nonsense"})


@pytest.mark.slow
def test_the_command_names_what_there_is(folder: Path, tmp_path: Path) -> None:
    """Told as JSON; a second run finds nothing to do."""
    command = [sys.executable, "-m", "streams.cli.main", "archive", "iceberg", "--json"]
    command += ["--archive", str(folder), "--catalog", "type=sql"]
    command += ["--catalog", f"uri=sqlite:///{tmp_path}/own.db"]
    command += ["--catalog", f"warehouse=file://{tmp_path}/own"]
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [json.loads(subprocess.check_output(command)) for _ in range(2)]
    assert told[0]["traces"] == {"added": 8, "removed": 0, "files": 8}
    assert told[1]["traces"] == {"added": 0, "removed": 0, "files": 8}
    assert set(told[0]) == {kind.name for kind in KINDS}
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before
    wrong = subprocess.run([*command, "--catalog", "x"], capture_output=True, check=False)
    assert wrong.returncode == 2
    assert b"KEY=VALUE" in wrong.stderr
