"""How columns of MySQL and MariaDB are read, and how their values become Arrow's."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from orchestrator.model.errors import InvalidSource
from orchestrator.remote_sources.databases.sessions import SourceColumn

_MOST_DIGITS = 38
_NATIVE: dict[str, tuple[str, pa.DataType]] = {
    "tinyint": ("TINYINT", pa.int8()),
    "smallint": ("SMALLINT", pa.int16()),
    "mediumint": ("INTEGER", pa.int32()),
    "int": ("INTEGER", pa.int32()),
    "bigint": ("BIGINT", pa.int64()),
    "year": ("SMALLINT", pa.int16()),
    "float": ("FLOAT", pa.float32()),
    "double": ("DOUBLE", pa.float64()),
    "datetime": ("TIMESTAMP", pa.timestamp("us")),
    "timestamp": ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC")),
    "date": ("DATE", pa.date32()),
}
_UNSIGNED: dict[str, tuple[str, pa.DataType]] = {
    "tinyint": ("UTINYINT", pa.uint8()),
    "smallint": ("USMALLINT", pa.uint16()),
    "mediumint": ("UINTEGER", pa.uint32()),
    "int": ("UINTEGER", pa.uint32()),
    "bigint": ("UBIGINT", pa.uint64()),
}
_BYTES = frozenset(
    {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector", "geometry", "point", "linestring"}
    | {"polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection"}
)


def column_of(name: str, kind: str, whole: str, digits: int | None, scale: int | None) -> SourceColumn:
    """How a column is read. `kind` is the name of its type, `whole` the type as MySQL shows it.

    `tinyint(1)`, which is how MySQL writes BOOLEAN, holds more than two values, and stays a number. `time` goes to 838
    hours, and becomes text.
    """
    quoted = quote(name)
    if kind in _UNSIGNED and "unsigned" in whole:
        return SourceColumn(name, quoted, *_UNSIGNED[kind])
    if kind in _NATIVE:
        # The driver asks for texts, in which a server writes six digits of a FLOAT.
        return SourceColumn(name, f"({quoted} + 0e0)" if kind == "float" else quoted, *_NATIVE[kind])
    if kind == "decimal" and digits is not None and scale is not None and digits <= _MOST_DIGITS:
        return SourceColumn(name, quoted, f"DECIMAL({digits},{scale})", pa.decimal128(digits, scale))
    if kind == "bit":
        return SourceColumn(name, f"CAST({quoted} AS UNSIGNED)", "UBIGINT", pa.uint64())
    if kind in _BYTES:
        return SourceColumn(name, quoted, "BLOB", pa.binary())
    return SourceColumn(name, f"CAST({quoted} AS CHAR)", "VARCHAR", pa.string())


def quote(name: str) -> str:
    """A name as SQL has it."""
    return "`" + name.replace("`", "``") + "`"


def batch_of(rows: Sequence[Sequence[Any]], columns: Sequence[SourceColumn]) -> pa.RecordBatch:
    """Rows of the driver as a batch. Raises InvalidSource for a value that its type cannot hold."""
    schema = pa.schema([pa.field(column.name, column.arrow_type) for column in columns])
    values = zip(*rows, strict=True)
    arrays = [_array(list(one), column) for one, column in zip(values, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: list[Any], column: SourceColumn) -> pa.Array:
    try:
        return pa.array(values, column.arrow_type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, OverflowError):
        # The driver leaves a date that is none, such as 0000-00-00, as text.
        raise InvalidSource(
            f'the column "{column.name}" has a value that {column.duckdb_type} cannot hold, such as 0000-00-00.',
            attr="columns",
        ) from None
