"""A source table: files, or a table of a database, that views may read under a name."""

from collections.abc import Mapping, Sized
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.file_patterns import is_remote_pattern
from orchestrator.model.nearest import nearest
from orchestrator.model.principal import User
from orchestrator.model.snapshot import Column


class SourceFormat(StrEnum):
    """How the files are read. `CSV` has no header line (its columns are `column0`, `column1`, …).

    The last two are tables of databases, which are copied into Parquet files.
    """

    PARQUET = "Parquet"
    CSV = "CSV"
    CSV_WITH_NAMES = "CSVWithNames"
    JSON_EACH_ROW = "JSONEachRow"
    POSTGRESQL = "PostgreSQL"
    MYSQL = "MySQL"


DATABASE_FORMATS = frozenset({SourceFormat.POSTGRESQL, SourceFormat.MYSQL})
"""The formats of tables of databases."""


# Other words for the formats, in any case. PostHog's own words above are exact: CSV has no header line.
_ALIASES = {
    **dict.fromkeys(("parquet", "pq"), SourceFormat.PARQUET),
    **dict.fromkeys(("csv", "csvwithnames", "csv_with_names", "csv-with-names"), SourceFormat.CSV_WITH_NAMES),
    **dict.fromkeys(("json", "jsonl", "ndjson", "jsonlines", "jsoneachrow"), SourceFormat.JSON_EACH_ROW),
    **dict.fromkeys(("postgresql", "postgres"), SourceFormat.POSTGRESQL),
    **dict.fromkeys(("mysql", "mariadb"), SourceFormat.MYSQL),
}
_LONGEST_SHOWN = 60
_TABS = "CSVWithNames, with \\t as its delimiter"


def format_named(text: str) -> SourceFormat:
    """The format of that name or alias. Raises ValueError, with the name that was probably meant."""
    if text in {*SourceFormat}:
        return SourceFormat(text)
    found = _ALIASES.get(text.strip().lower())
    if found is not None:
        return found
    if text.strip().lower() in {"tsv", "tab"}:
        raise ValueError(f"{text.strip()} is {_TABS}.")
    # Of CSV only the word in small letters is proposed: files without a header line are rare.
    meant = nearest(text, [*_ALIASES, *(one for one in SourceFormat if one is not SourceFormat.CSV)])
    advice = f' Did you mean "{meant}"?' if meant else ""
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    raise ValueError(f'"{shown}" is no format; it is one of: {", ".join(SourceFormat)}.{advice}')


class BadRow(StrEnum):
    """How a run treats a row of a text file that does not fit the columns of its table.

    `fail` ends the run, `skip` leaves the row out and counts it, `quarantine` also keeps it beside the result.
    """

    FAIL = "fail"
    SKIP = "skip"
    QUARANTINE = "quarantine"


class ReadOptions(Value):
    """How the files of a source table are read.

    `union_by_name`: files may lack columns, which are NULL then. `hive_partitioning`: folders named `key=value` are
    columns. The others are about CSV: `delimiter` is one character, `quote` one or none, `null_text` the text of a
    field that is NULL, `date_format` a strptime format for dates and timestamps (None: ISO 8601), `decimal_separator`
    a point or a comma, `encoding` the name that DuckDB has for it.
    """

    on_bad_row: BadRow = BadRow.FAIL
    union_by_name: bool = False
    hive_partitioning: bool = False
    delimiter: str = ","
    quote: str = '"'
    null_text: str = ""
    date_format: str | None = None
    decimal_separator: Literal[".", ","] = "."
    encoding: str = "utf-8"


AS_USUAL = ReadOptions()


def is_plain_parquet(url_pattern: str, source_format: SourceFormat, options: ReadOptions, stated: Sized) -> bool:
    """Whether the files are Parquet on a disk, and are read as they are: without options or types that were stated."""
    is_plain = source_format is SourceFormat.PARQUET and options == AS_USUAL and not stated
    return is_plain and not is_remote_pattern(url_pattern)


class FileDifference(Value):
    """Files that all have the same columns, which are not those of their table.

    `path` is the first of them, and `file_count` their number. They lack `missing` and have `additional` beside the
    table's columns, which are not read. Of many names only the first are there; the counts are of all.
    """

    path: str
    file_count: int
    missing: tuple[str, ...] = ()
    missing_count: int = 0
    additional: tuple[str, ...] = ()
    additional_count: int = 0


class SourceFiles(Value):
    """The number and total bytes of a table's files when its columns were last read from them."""

    file_count: int
    bytes: int


class DescribedSource(SourceFiles):
    """The columns that files were found to have, and the files whose columns are others."""

    columns: tuple[Column, ...]
    differences: tuple[FileDifference, ...] = ()

    @property
    def files(self) -> SourceFiles | None:
        """The number and bytes of the files; None for a table of a database, which has none."""
        return SourceFiles(file_count=self.file_count, bytes=self.bytes) if self.file_count else None


class Credential(Value):
    """The credential for the remote files of a source table: a key of a bucket, or the user and password of a database.

    Stored encrypted and never shown.
    """

    access_key: str
    access_secret: str


class SourceTable(Value):
    """A source table as the catalog keeps it.

    `columns` were read from its files when they were last inspected. `stated` are those whose type a person has stated;
    the types of the others were detected. `files` is None if an older release read them. One that `is_abridged` has no
    columns: they do not fit on the page of a list.

    `column_descriptions` are those of its columns, by the key of the column's name, and its own by an empty key. In a
    list it has none.
    """

    id: UUID
    project_id: int
    name: str
    format: SourceFormat
    url_pattern: str
    columns: tuple[Column, ...]
    options: ReadOptions = AS_USUAL
    stated: tuple[Column, ...] = ()
    files: SourceFiles | None = None
    created_by: User | None
    created_at: datetime
    is_abridged: bool = False
    column_descriptions: Mapping[str, str] = {}

    @property
    def description(self) -> str | None:
        """The description of the table itself."""
        return self.column_descriptions.get("")
