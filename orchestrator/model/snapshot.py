"""What a run publishes: an immutable set of Parquet files, and the columns that they hold."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from orchestrator.model.base import Value

# A table may have thousands of files: they would not fit into what Temporal carries, nor into a list of versions.
_ROOM_FOR_FILES = 16_000


class Column(Value):
    """A column as DuckDB names it, in SELECT order.

    `duckdb_type` is DuckDB's own spelling, such as `DECIMAL(18,3)` or `STRUCT(a INTEGER)[]`: what a reader of the
    column sees. `stored_type` is what the files of a snapshot hold instead where Parquet has no equal for that (a
    HUGEINT is stored as DECIMAL(38,0)); None where they hold the type itself, as in snapshots of earlier releases.
    """

    name: str
    duckdb_type: str
    stored_type: str | None = None


def seen(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns as a reader sees them, however files hold them."""
    return tuple(column.model_copy(update={"stored_type": None}) for column in columns)


class SnapshotFile(Value):
    """One Parquet file of a snapshot. `name` is relative to the snapshot's location; `bytes` is its size on disk.

    `digest` is the hash of its content, `xxh128:` and 32 hexadecimal digits: it tells a damaged file, not a forged one.
    None in snapshots that an older release wrote.
    """

    name: str
    rows: int
    bytes: int
    digest: str | None = None


class InputFile(Value):
    """A file of a source table as a run read it.

    `path` is as the table's pattern spells it. `digest` is that of its bytes as they lay on the disk, as SnapshotFile
    has it, or of what a Parquet file says of itself at its end, `xxh128-footer:` and 32 hexadecimal digits.
    """

    path: str
    bytes: int
    modified_at: datetime | None
    digest: str | None


class InputFiles(Value):
    """The files of a source table as a run read them: how many, their bytes in all, and the digest of the list.

    The digest is that of all paths, sizes and digests in order. `files` may lack those for which there was no room.
    """

    file_count: int
    bytes: int
    digest: str
    files: tuple[InputFile, ...]


class ResolvedInput(Value):
    """What one input of a run was, exactly. `snapshot_id` is set for a materialized view only.

    `skipped_rows` of a source table did not fit its columns and were left out. If they were kept, `quarantine` is the
    file that holds them, relative to the snapshot's location.

    For a source table, the rest is what InputFiles says. Pins that an older release made have none of it.
    """

    name: str
    kind: str
    id: UUID
    snapshot_id: UUID | None = None
    skipped_rows: int = 0
    quarantine: str | None = None
    file_count: int | None = None
    bytes: int | None = None
    digest: str | None = None
    files: tuple[InputFile, ...] = ()


class Snapshot(Value):
    """The sealed result of one attempt of one run, published or not.

    `location` is the store's key of its folder. `columns` say both what the query gave and what the files hold.
    `quarantine` are files beside the result, which hold rows of source tables that were left out of it; `rows` and
    `bytes` do not count them.
    """

    id: UUID
    run_id: UUID
    saved_query_id: UUID
    revision_id: UUID
    attempt: int
    location: str
    files: tuple[SnapshotFile, ...]
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    inputs: tuple[ResolvedInput, ...]
    engine_version: str
    created_at: datetime
    quarantine: tuple[SnapshotFile, ...] = ()


class QuarantinedRow(Value):
    """A row of a source table that did not fit its columns, as the file of such rows holds it.

    `column` is the first one that it did not fit, `text` what stands there, `row` the whole row. None where the reader
    of the files could not tell.
    """

    file: str | None
    line: int | None
    column: str | None
    text: str | None
    reason: str | None
    row: str | None


def pinned(pins: Iterable[ResolvedInput], sources: Mapping[str, InputFiles]) -> tuple[ResolvedInput, ...]:
    """The pins, those of source tables with the files that were read. `sources` has these by the table's name."""
    return tuple(
        pin.model_copy(update={name: getattr(sources[pin.name], name) for name in InputFiles.model_fields})
        if pin.kind == "source" and pin.name in sources
        else pin
        for pin in pins
    )


def shortened(pins: Iterable[ResolvedInput]) -> tuple[ResolvedInput, ...]:
    """The pins with as many files as are shown together with a version; its manifest lists all of them."""
    room, short = _ROOM_FOR_FILES, []
    for pin in pins:
        files = []
        for file in pin.files:
            room -= len(file.model_dump_json())
            if room < 0:
                break
            files.append(file)
        short.append(pin.model_copy(update={"files": tuple(files)}))
    return tuple(short)


class Manifest(Value):
    """What lies beside a snapshot's files, so that they can be understood and checked without the catalog.

    `sql` is the statement of the revision that the snapshot was made by.
    """

    format: int = 1
    project_id: int
    name: str
    sql: str
    snapshot: Snapshot


class PublishedSnapshot(Value):
    """A published snapshot that can still be read. `pinned` ones are kept whatever their age.

    `superseded_at` says since when it is not the current one; None: it is.
    """

    snapshot: Snapshot
    is_current: bool
    pinned: bool
    superseded_at: datetime | None


class Retention(Value):
    """Which versions are kept: the newest `count` of a view, as long as they are younger than `age`.

    The current one, pinned ones and those that a run reads always are. Whoever reads a version that has just been
    replaced has `grace` to finish.
    """

    count: int
    age: timedelta
    grace: timedelta


def snapshot_id(run_id: UUID, attempt: int) -> UUID:
    """The id of what attempt number `attempt` of a run produces. The same attempt told twice is one snapshot."""
    return uuid5(run_id, f"attempt-{attempt}")


def location_of(project_id: int, saved_query_id: UUID, run_id: UUID, attempt: int) -> str:
    """The store's key for what one attempt of a run writes: a relative path, never used twice."""
    return f"{project_id}/{saved_query_id}/{run_id}-{attempt}"
