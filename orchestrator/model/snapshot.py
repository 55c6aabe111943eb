"""Snapshots: the immutable sets of Parquet files that runs publish, with their columns and inputs."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from orchestrator.model.base import Value

# Characters of JSON. A table may have thousands of files, too many for Temporal's messages and for a list of versions.
_ROOM_FOR_FILES = 16_000


class Column(Value):
    """A column as DuckDB names it, in SELECT order.

    `duckdb_type` is the type that a reader sees, in DuckDB's spelling, such as `DECIMAL(18,3)` or
    `STRUCT(a INTEGER)[]`. `stored_type` is the type in the files of a snapshot, where Parquet has no equal for that (a
    HUGEINT is stored as DECIMAL(38,0)); None where they hold the type itself, as in snapshots of earlier releases.
    """

    name: str
    duckdb_type: str
    stored_type: str | None = None


def seen(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns as a reader sees them, without the types in which files store them."""
    return tuple(column.model_copy(update={"stored_type": None}) for column in columns)


class SnapshotFile(Value):
    """One Parquet file of a snapshot. `name` is relative to the snapshot's location; `bytes` is its size on disk.

    `digest` is the hash of its content, `xxh128:` and 32 hexadecimal digits. It detects a damaged file, not a forged
    one. None in snapshots that an older release wrote.
    """

    name: str
    rows: int
    bytes: int
    digest: str | None = None


class InputFile(Value):
    """A file of a source table as a run read it.

    `path` is spelled as in the table's pattern. `digest` is the hash of its bytes on the disk, in the form that
    SnapshotFile has, or the hash of a Parquet file's footer, `xxh128-footer:` and 32 hexadecimal digits. `identity`
    stays equal as long as it is the same file and is not changed; empty or None where it is not known.
    """

    path: str
    bytes: int
    modified_at: datetime | None
    digest: str | None
    identity: str | None = None


class InputFiles(Value):
    """The files of a source table as a run read them: their number, total bytes, and the digest of the list.

    `digest` is that of all paths, sizes and digests in order, `listing` that of all paths and identities. `files` may
    lack those that did not fit.
    """

    file_count: int
    bytes: int
    digest: str
    listing: str
    files: tuple[InputFile, ...]


class ResolvedInput(Value):
    """An input of a run, exactly as it was read. `snapshot_id` is set for a materialized view only.

    `skipped_rows` counts the rows of a source table that did not fit its columns and were left out. If they were kept,
    `quarantine` is the file that holds them, relative to the snapshot's location.

    For a source table, the other fields are those of InputFiles. Inputs that an older release resolved have none.
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
    listing: str | None = None
    files: tuple[InputFile, ...] = ()


class Snapshot(Value):
    """The sealed result of one attempt of one run, published or not.

    `location` is the store's key of its folder. `columns` have both the types of the query and those in the files.
    `quarantine` are files beside the result, which hold rows of source tables that were left out of it; `rows` and
    `bytes` do not count them.

    `recipe` is the digest of all that decides the result, except the content of its inputs. `deterministic` says that
    the same recipe and inputs give the same rows. `content` is the digest of the rows in any order, None if nothing
    needed it so far. Snapshots of an older release have none of them.
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
    recipe: str | None = None
    deterministic: bool = False
    content: str | None = None


class QuarantinedRow(Value):
    """A row of a source table that did not fit its columns, as the quarantine file holds it.

    `column` is the first one that it did not fit, `text` its value there, `row` the whole row. None where the
    engine, which read the files, did not know it.
    """

    file: str | None
    line: int | None
    column: str | None
    text: str | None
    reason: str | None
    row: str | None


def pinned(pins: Iterable[ResolvedInput], sources: Mapping[str, InputFiles]) -> tuple[ResolvedInput, ...]:
    """The resolved inputs, with the files that were read of source tables. `sources` has these by table name."""
    return tuple(
        pin.model_copy(update={name: getattr(sources[pin.name], name) for name in InputFiles.model_fields})
        if pin.kind == "source" and pin.name in sources
        else pin
        for pin in pins
    )


def shortened(pins: Iterable[ResolvedInput]) -> tuple[ResolvedInput, ...]:
    """The resolved inputs with as many files as are shown with a version; its manifest lists all of them."""
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
    """The description beside a snapshot's files, by which they can be read and checked without the catalog.

    `sql` is the statement of the snapshot's revision.
    """

    format: int = 1
    project_id: int
    name: str
    sql: str
    snapshot: Snapshot


class PublishedSnapshot(Value):
    """A published snapshot that can still be read. `pinned` ones are kept at any age.

    `superseded_at` is since when it is not the current one; None while it is. `is_blocked` says that its checks keep it
    from readers: it was never the current one.
    """

    snapshot: Snapshot
    is_current: bool
    pinned: bool
    superseded_at: datetime | None
    is_blocked: bool = False


class Retention(Value):
    """Which versions are kept: the newest `count` of a view, as long as they are younger than `age`.

    The current one, pinned ones and those that a run reads are always kept. A reader of a version that has just been
    superseded has `grace` to finish.
    """

    count: int
    age: timedelta
    grace: timedelta


def snapshot_id(run_id: UUID, attempt: int) -> UUID:
    """The id of the snapshot of attempt number `attempt` of a run. It is the same each time it is computed."""
    return uuid5(run_id, f"attempt-{attempt}")


def location_of(project_id: int, saved_query_id: UUID, run_id: UUID, attempt: int) -> str:
    """The store's key for the files of one attempt of a run: a relative path, never used twice."""
    return f"{project_id}/{saved_query_id}/{run_id}-{attempt}"
