"""Reading results: the formats, the plan of a query that a client reads, and the description of its result."""

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from orchestrator.model.base import Value
from orchestrator.model.limits import Limits
from orchestrator.model.run import SnapshotRelation, SourceRelation, ViewRelation
from orchestrator.model.snapshot import Column


class ResultFormat(StrEnum):
    """The formats of a result. `json` is the rows as arrays, without what stands around them."""

    ARROW = "arrow"
    PARQUET = "parquet"
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"


class RowsRelation(Value):
    """Rows as an input: a table of the information schema, or the rows of a unit test.

    `columns` are names and DuckDB types. Each value is a JSON value of which DuckDB makes one of the type. With
    `has_aliases`, a query may also write a name with dots as several names.
    """

    kind: Literal["rows"] = "rows"
    name: str
    columns: Mapping[str, str]
    rows: tuple[tuple[Any, ...], ...]
    has_aliases: bool = False


ReadRelation = Annotated[SourceRelation | SnapshotRelation | ViewRelation | RowsRelation, Field(discriminator="kind")]


class ReadPlan(Value):
    """All that decides the result of a query that a client reads. `relations` are as in a RunPlan.

    A statement without a LIMIT of its own gives `default_rows` rows, if that is set, and every statement at most
    `most_rows`. `parameters` are the values of `$name` in it. `large_as_text` gives JSON texts instead of numbers of
    more than 53 bits, `lz4` compresses Arrow buffers, and `wide` stores HUGEINT as text in Arrow and Parquet.
    `timeout_seconds` bounds the time in which the client does not keep the query waiting.
    """

    sql: str
    relations: tuple[ReadRelation, ...]
    format: ResultFormat
    limits: Limits
    timeout_seconds: float
    parameters: Mapping[str, Any] = {}
    default_rows: int | None = None
    most_rows: int | None = None
    large_as_text: bool = False
    lz4: bool = False
    wide: bool = False


class ResultSummary(Value):
    """The description of a result, known at its end. `most_rows` is the limit that applied, if one did."""

    columns: tuple[Column, ...]
    rows: int
    has_more: bool
    most_rows: int | None


class ResultStream(Protocol):
    """The result of a query while it runs."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the result. The query waits while no chunk is taken.

        Raises the errors of a query, also after some chunks: then the result is not complete.
        """

    @property
    def summary(self) -> ResultSummary | None:
        """The description of the result; None until `chunks` has ended."""
