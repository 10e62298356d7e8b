"""The archive as Iceberg tables: for Trino, Spark, Flink and whatever else reads a lake.

Owns what a table names: exactly the files that the archive has, where they are. Nothing is copied.
Each run is one snapshot a table, which takes in what was written since and leaves out what was
merged or has expired; readers of an older snapshot keep theirs for as long as the files are there.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from streams.errors import ConfigError, StateError


class Change(NamedTuple):
    """What a run changed of a table: files taken in, files left out, and how many it has now."""

    added: int
    removed: int
    files: int


def catalog_of(name: str, properties: Mapping[str, str]) -> Any:
    """Return a catalog, as pyiceberg knows it.

    Raises:
        ConfigError: pyiceberg is not installed, or the properties are not those of a catalog.
    """
    try:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NotInstalledError
    except ImportError as error:
        raise ConfigError(
            "Iceberg tables need pyiceberg: install spanloom[iceberg], or pyiceberg[sql-sqlite]"
        ) from error
    refusals: tuple[type[Exception], ...] = (ValueError, NotInstalledError, *_of_databases())
    try:
        return load_catalog(name, **properties)
    except refusals as error:
        raise ConfigError(f"--catalog: {error}") from error


def _of_databases() -> tuple[type[Exception], ...]:
    """Return what a catalog in a database fails with; nothing where none can be one."""
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return ()
    return (SQLAlchemyError,)


def _table(catalog: Any, namespace: str, kind: str, schema: pa.Schema) -> Any:
    try:
        catalog.create_namespace_if_not_exists(namespace)
        return catalog.create_table_if_not_exists((namespace, kind), schema=schema)
    except ValueError as error:
        raise ConfigError(
            f"--catalog: no table {namespace}.{kind} can be made: {error}; say where tables lie, "
            "as in --catalog warehouse=file:///var/lib/lake"
        ) from error


def sync(
    catalog: Any, namespace: str, kind: str, schema: pa.Schema, files: Iterable[str]
) -> Change:
    """Make a kind's table name exactly some files.

    Args:
        catalog: where the table is known.
        namespace: of the table; it is named as the kind.
        kind: its name.
        schema: its columns; those that the table lacks are added.
        files: the kind's files, each a whole address.

    Raises:
        ConfigError: the catalog has no place for a new table.
        StateError: a file cannot be read, or the table was changed by another at the same time.
    """
    from pyiceberg.exceptions import CommitFailedException
    from pyiceberg.io.pyarrow import parquet_files_to_data_files
    from pyiceberg.table import TableProperties

    table = _table(catalog, namespace, kind, schema)
    if set(schema.names) - set(table.schema().column_names):
        with table.update_schema() as update:
            update.union_by_name(schema)
    held = {task.file.file_path: task.file for task in table.scan().plan_files()}
    wanted = set(files)
    gone = sorted(held.keys() - wanted)
    new = sorted(wanted - held.keys())
    if not gone and not new:
        return Change(0, 0, len(wanted))
    # The files carry names, not Iceberg's field ids: the table says which is which.
    mapping = {TableProperties.DEFAULT_NAME_MAPPING: table.schema().name_mapping.model_dump_json()}
    try:
        with table.transaction() as transaction:
            transaction.set_properties(mapping)
            with transaction.update_snapshot().overwrite() as snapshot:
                for path in gone:
                    snapshot.delete_data_file(held[path])
                metadata = transaction.table_metadata
                for file in parquet_files_to_data_files(table.io, metadata, iter(new)):
                    snapshot.append_data_file(file)
    except CommitFailedException as error:
        raise StateError(
            f"the table {namespace}.{kind} was changed meanwhile: {error}. Operator action: let "
            "one process sync an archive, and run it again."
        ) from error
    except OSError as error:
        raise StateError(
            f"a file of {kind} cannot be read: {error}. Operator action: run it again; files that "
            "were merged meanwhile are named anew."
        ) from error
    return Change(len(new), len(gone), len(wanted))
