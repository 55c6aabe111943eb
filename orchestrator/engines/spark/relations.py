"""The relations of a session on the cluster: what a view's statement finds there under the names of its inputs."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pyspark.sql.connect.session import SparkSession
from pyspark.sql.dataframe import DataFrame

from orchestrator.engines.spark.types import backticked, duckdb_type, spark_type
from orchestrator.model.errors import InvalidQuery, QueryRefused, StoreUnavailable
from orchestrator.model.names import quoted
from orchestrator.model.snapshot import Column

# Spark's names of types in JSON, where they are others than in SQL.
_IN_JSON = {"integer": "int", "long": "bigint", "short": "smallint", "byte": "tinyint"}


class FilesRelation(NamedTuple):
    """Parquet files as an input, by URL, with the columns that a reader of them sees."""

    name: str
    urls: tuple[str, ...]
    columns: tuple[Column, ...]


class TextRelation(NamedTuple):
    """A view that is evaluated inside the query: a statement in Spark's dialect, and the columns that it has."""

    name: str
    sql: str
    columns: tuple[Column, ...]


def create(session: SparkSession, relations: Iterable[FilesRelation | TextRelation]) -> None:
    """Create the relations, in an order in which each reads only those before it.

    Raises StoreUnavailable if the cluster does not see all files of one:
    Sail 0.7.2 leaves out those that are not there.
    """
    for relation in relations:
        if isinstance(relation, FilesRelation):
            files = session.read.parquet(*relation.urls)
            seen, given = len(set(files.inputFiles())), len(set(relation.urls))
            if seen != given:
                raise StoreUnavailable(f'The cluster sees {seen} of the {given} files of "{relation.name}".')
            frame = _chosen(files, relation.columns)
        else:
            frame = as_columns(session.sql(relation.sql), relation.columns)
        frame.createOrReplaceTempView(relation.name)


def create_empty(session: SparkSession, name: str, columns: Sequence[Column]) -> None:
    """Create a relation of no rows with these columns."""
    values = [
        f"CAST(NULL AS {kind}) AS {backticked(column.name)}"
        for column in columns
        if (kind := spark_type(column.duckdb_type))
    ]
    session.sql(f"SELECT {', '.join(values) or '1 AS nothing'} WHERE false").createOrReplaceTempView(name)


def as_columns(frame: DataFrame, columns: Sequence[Column]) -> DataFrame:
    """The frame with these names and types, by position. Raises QueryRefused for a type that Spark does not have."""
    if len(frame.columns) != len(columns):
        counts = f"{len(frame.columns)} columns, and DuckDB {len(columns)}"
        raise QueryRefused(f"Spark gives the query {counts}. Save it again.")
    names = [f"c{number}" for number in range(len(columns))]
    values = [
        f"CAST({name} AS {_required(column)}) AS {backticked(column.name)}"
        for name, column in zip(names, columns, strict=True)
    ]
    return frame.toDF(*names).selectExpr(*values)


def columns_of(frame: DataFrame) -> tuple[Column, ...]:
    """The columns of a frame, with DuckDB's types. Raises InvalidQuery for a type that no snapshot holds."""
    found: list[Column] = []
    for field in frame.schema.fields:
        kind = _duckdb_type(field.dataType.jsonValue())
        if kind is None:
            shown = field.dataType.simpleString()
            what = f"the column {field.name} has Spark's type {shown}"
            raise InvalidQuery(f"Invalid query: {what}, which no result holds.", attr="query")
        found.append(Column(name=field.name, duckdb_type=kind))
    names = [column.name.lower() for column in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidQuery(f"Invalid query: two columns have the name {twice}. Give one of them another name.")
    return tuple(found)


def _chosen(frame: DataFrame, columns: Sequence[Column]) -> DataFrame:
    """The columns of files that Spark has types for, as a reader sees them. A statement may need no others."""
    values = [
        f"CAST({backticked(column.name)} AS {kind}) AS {backticked(column.name)}"
        for column in columns
        if (kind := spark_type(column.duckdb_type))
    ]
    return frame.selectExpr(*(values or ["1 AS nothing"]))


def _required(column: Column) -> str:
    kind = spark_type(column.duckdb_type)
    if kind is None:
        raise QueryRefused(f"Spark has no equal for the type {column.duckdb_type} of the column {column.name}.")
    return kind


def _duckdb_type(kind: object) -> str | None:
    """The DuckDB type of a Spark type in the form that it has in JSON."""
    if not isinstance(kind, dict):
        return duckdb_type(_IN_JSON.get(str(kind), str(kind)))
    if kind["type"] == "struct":
        parts = [(field["name"], _duckdb_type(field["type"])) for field in kind["fields"]]
        fields = ", ".join(f"{quoted(name)} {part}" for name, part in parts)
        return None if any(part is None for _, part in parts) else f"STRUCT({fields})"
    inner = [_duckdb_type(kind[name]) for name in ("elementType", "keyType", "valueType") if name in kind]
    if not inner or None in inner:
        return None
    return f"{inner[0]}[]" if kind["type"] == "array" else f"MAP({inner[0]}, {inner[1]})"
