"""The JSON shapes of requests and answers about source tables."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field

from api.schemas import BREAK_DEPENDENTS, ColumnOut, RequestModel, Timestamp, UserOut, is_whole
from orchestrator.model.column_limits import MOST_COLUMNS
from orchestrator.model.read_options import LONGEST_COLUMN_NAME, LONGEST_TEXT, LONGEST_TYPE
from orchestrator.model.source_table import AS_USUAL, BadRow, ReadOptions, SourceFormat, format_named

_COLUMNS = (
    "States the type of columns, as DuckDB writes it; the types of all others are detected. In an edit the list "
    "replaces all that was stated before. The list of an answer may be sent back: it states what was stated"
)


class CredentialIn(RequestModel):
    """The credential for files that are kept elsewhere. Stored encrypted, never shown."""

    access_key: str = Field(max_length=500, description="The id of the key")
    access_secret: str = Field(max_length=500, description="The key itself")


class ColumnIn(RequestModel):
    """A column whose type is stated."""

    name: str = Field(min_length=1, max_length=LONGEST_COLUMN_NAME, description="Its name", examples=["zip"])
    type: str = Field(
        min_length=1, max_length=LONGEST_TYPE, description="Any type of DuckDB's", examples=["VARCHAR", "DECIMAL(10,2)"]
    )
    duckdb_type: str | None = Field(
        default=None, max_length=LONGEST_TYPE, description="Its type, if the column is sent back as an answer showed it"
    )
    stated: bool = Field(default=True, description="false, as in an answer: the type is detected")


class ReadingIn(RequestModel):
    """How the files are read. null sets an option to its default, which an option left out of a new table has too."""

    columns: list[ColumnIn] | None = Field(default=None, fail_fast=True, max_length=MOST_COLUMNS, description=_COLUMNS)
    on_bad_row: BadRow | None = Field(
        default=None,
        description="What a run does with a row that does not fit the columns: fail (as usual), skip it, or quarantine "
        "it: skip it and keep it beside the result. Not for Parquet",
    )
    union_by_name: bool | None = Field(
        default=None, description="Whether files may lack columns, which are NULL then; false as usual"
    )
    hive_partitioning: bool | None = Field(
        default=None, description="Whether folders named key=value are columns; false as usual"
    )
    delimiter: str | None = Field(
        default=None, description="CSV: the character between columns, \\t for a tab; a comma as usual"
    )
    quote: str | None = Field(
        default=None, description='CSV: the character around a quoted text, or nothing; " as usual'
    )
    header: bool | None = Field(
        default=None, description="CSV: whether there is a header line, which decides between CSVWithNames and CSV"
    )
    null_text: str | None = Field(
        default=None, description=f"CSV: the text of a field that is NULL, up to {LONGEST_TEXT} characters; '' as usual"
    )
    date_format: str | None = Field(
        default=None, description="CSV: how dates and times are written, for strptime; ISO 8601 as usual"
    )
    decimal_separator: Literal[".", ","] | None = Field(default=None, description="CSV: a point as usual, or a comma")
    encoding: str | None = Field(default=None, description="CSV: utf-8 as usual, utf-16 or latin-1")

    def options(self) -> ReadOptions:
        """The options that were sent."""
        sent = self.model_dump(include={*ReadOptions.model_fields}, exclude_unset=True)
        usual = AS_USUAL.model_dump()
        return ReadOptions.model_validate({k: usual[k] if value is None else value for k, value in sent.items()})


class RefreshSchema(RequestModel):
    """How the columns are read again."""

    break_dependents: bool = Field(default=False, description=BREAK_DEPENDENTS)


def _known_format(value: object) -> object:
    return format_named(value) if isinstance(value, str) else value


FormatIn = Annotated[SourceFormat, BeforeValidator(_known_format)]
_FORMAT = (
    "How the files are read; CSVWithNames has a header line, CSV has none. In any case of letters, parquet, csv (which "
    "is CSVWithNames), json, jsonl and ndjson mean the same"
)


class EditTable(ReadingIn):
    """The fields of a source table to change. Its columns are read again unless only its name or credential changes."""

    name: str = Field(default="", description="Unique among the project's views and tables")
    format: FormatIn = Field(default=SourceFormat.PARQUET, description=_FORMAT)
    url_pattern: str = Field(default="", description="A file, or several with * (within one folder)")
    credential: CredentialIn | None = Field(
        default=None, description="What opens files that are kept elsewhere; null forgets it"
    )
    break_dependents: bool = Field(default=False, description=BREAK_DEPENDENTS)


class AddTable(ReadingIn):
    """Files to register as a source table."""

    name: str = Field(description="Unique among the project's views and tables", examples=["events"])
    format: FormatIn = Field(description=_FORMAT)
    url_pattern: str = Field(
        description="A file, or several with * (within one folder)", examples=["/data/events/*.parquet"]
    )
    credential: CredentialIn | None = Field(
        default=None, description="What opens files that are kept elsewhere; stored encrypted, never shown"
    )


class TableColumnOut(ColumnOut):
    """A column of a source table, in PostHog's shape."""

    stated: bool = Field(description="Whether a person stated its type; false: it was detected from the files")


class DescribedTableColumnOut(TableColumnOut):
    """A column of a source table with its description, which a list does not show."""

    description: str | None = Field(description="What the column means; see warehouse_column_annotations/")


class ReadingOut(BaseModel):
    """How the files of a table are read; null for an option that its format does not have."""

    on_bad_row: BadRow = Field(description="What a run does with a row that does not fit the columns")
    union_by_name: bool = Field(description="Whether files may lack columns, which are NULL then")
    hive_partitioning: bool = Field(description="Whether folders named key=value are columns")
    delimiter: str | None = Field(description="The character between columns")
    quote: str | None = Field(description="The character around a quoted text; empty: there is none")
    header: bool | None = Field(description="Whether there is a header line")
    null_text: str | None = Field(description="The text of a field that is NULL")
    date_format: str | None = Field(description="How dates and times are written, for strptime; null: as ISO 8601 says")
    decimal_separator: str | None = Field(description="What stands before the fraction of a number")
    encoding: str | None = Field(description="The encoding of the text")


class TableSummary(ReadingOut):
    """A source table as a list shows it."""

    id: UUID = Field(description="The id of the table")
    name: str = Field(description="Unique among the project's views and tables")
    format: SourceFormat = Field(description="How its files are read")
    url_pattern: str = Field(description="Where its files are")
    columns: list[TableColumnOut] = Field(
        description="Its columns, as its files had them when they were last read, or as they were stated"
    )
    file_count: int | None = Field(
        description="How many files it had when its columns were last read; null if that is not known"
    )
    bytes: int | None = Field(description="How large they were together")
    created_by: UserOut | None = Field(description="Who registered it")
    created_at: Timestamp = Field(description="When it was registered")
    deleted: bool = Field(description="Always false: deleted tables are not shown")
    abridged: bool = Field(
        default=False,
        exclude_if=is_whole,
        description="true if its columns were left out, since the list would be too large; smaller pages show them",
    )


class TableOut(TableSummary):
    """A source table."""

    columns: list[DescribedTableColumnOut] = Field(  # type: ignore[assignment] # a list shows less of a column
        description="Its columns, as its files had them when they were last read, or as they were stated"
    )
    description: str | None = Field(description="What the table means; see warehouse_column_annotations/")


class FileDifferenceOut(BaseModel):
    """Files that have the same columns, which are not those of their table."""

    path: str = Field(description="The first of these files")
    file_count: int = Field(description="How many files they are")
    missing: list[str] = Field(description="Columns of the table that they lack; of many, the first ones")
    missing_count: int = Field(description="How many they lack")
    additional: list[str] = Field(description="Columns that the table does not have; of many, the first ones")
    additional_count: int = Field(description="How many the table does not have")


class PlainColumnOut(BaseModel):
    """A column."""

    name: str = Field(description="Its name")
    duckdb_type: str = Field(description="Its type, as DuckDB writes it")


class RetypedColumnOut(BaseModel):
    """A column whose type is another one."""

    name: str = Field(description="Its name")
    before: str = Field(description="The DuckDB type before")
    after: str = Field(description="The DuckDB type after it")


class ColumnChangesOut(BaseModel):
    """How columns change. A renamed one is removed and added."""

    added: list[PlainColumnOut] = Field(description="New columns")
    removed: list[PlainColumnOut] = Field(description="Columns that are gone")
    retyped: list[RetypedColumnOut] = Field(description="Columns of another type")


def _is_empty(value: object) -> bool:
    return not value


class StoredTableOut(TableOut):
    """A source table that was added, changed or read again."""

    differences: list[FileDifferenceOut] = Field(
        default=[],
        exclude_if=_is_empty,
        description="Files whose columns are not the table's; additional ones are not read. Of many such groups, the "
        "first ones; missing if there are none, or if the files were not read",
    )
    changes: ColumnChangesOut | None = Field(
        default=None, exclude_if=_is_empty, description="How the columns changed; missing if they did not"
    )
