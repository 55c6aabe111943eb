"""How columns of PostgreSQL are read, and the values for which Arrow and DuckDB need help."""

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.model.errors import InvalidSource
from orchestrator.remote_sources.databases.sessions import SourceColumn

_UTC = "UTC"
_MOST_DIGITS = 38
_NATIVE: dict[str, tuple[str, pa.DataType]] = {
    "bool": ("BOOLEAN", pa.bool_()),
    "int2": ("SMALLINT", pa.int16()),
    "int4": ("INTEGER", pa.int32()),
    "int8": ("BIGINT", pa.int64()),
    "float4": ("FLOAT", pa.float32()),
    "float8": ("DOUBLE", pa.float64()),
    "text": ("VARCHAR", pa.string()),
    "varchar": ("VARCHAR", pa.string()),
    "bytea": ("BLOB", pa.binary()),
    "date": ("DATE", pa.date32()),
    "time": ("TIME", pa.time64("us")),
    "timestamp": ("TIMESTAMP", pa.timestamp("us")),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", _UTC)),
    "uuid": ("UUID", pa.uuid()),
}
# PostgreSQL counts from the year 2000, and the driver adds the rest without looking: infinity wraps around. In DuckDB,
# the largest number and its negative are the infinities.
_DAYS, _MICROSECONDS = 10_957, 946_684_800_000_000
_MOST_DAYS, _MOST_MICROSECONDS = 2**31 - 1, 2**63 - 1
_WRAPPED_DATES = (_MOST_DAYS + _DAYS - 2**32, -(2**31) + _DAYS)
_WRAPPED_TIMES = (_MOST_MICROSECONDS + _MICROSECONDS - 2**64, -(2**63) + _MICROSECONDS)
# 4713 BC, before which PostgreSQL has no time: a smaller number has wrapped around.
_FIRST_TIME = -210_866_803_200_000_000


def column_of(name: str, kind: str, category: str, typmod: int) -> SourceColumn:
    """How a column is read. `kind` is the name of its type if it is one of PostgreSQL's own, else empty.

    A type without a like in DuckDB becomes text: `numeric` without digits, `interval`, `json`, enumerations. Arrays and
    composite values become JSON.
    """
    quoted = quote(name)
    if kind in _NATIVE:
        return SourceColumn(name, quoted, *_NATIVE[kind])
    text = f"{quoted}::pg_catalog.text"
    if kind == "oid":
        return SourceColumn(name, f"{quoted}::pg_catalog.int8", "BIGINT", pa.int64())
    if kind == "numeric" and typmod >= 0:
        digits, scale = (typmod - 4) >> 16 & 0xFFFF, (typmod - 4) & 0x7FF
        if digits <= _MOST_DIGITS and scale <= digits:
            return SourceColumn(name, text, f"DECIMAL({digits},{scale})", pa.decimal128(digits, scale), text)
    if category in {"A", "C"}:
        text = f"pg_catalog.to_json({quoted})::pg_catalog.text"
    return SourceColumn(name, text, "VARCHAR", pa.string())


def quote(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def converted(batch: pa.RecordBatch, columns: list[SourceColumn]) -> pa.RecordBatch:
    """A batch of the driver with the types of the copy. Raises InvalidSource for a value that its type cannot hold."""
    arrays = [_converted(batch.column(at), column) for at, column in enumerate(columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(columns))


def schema_of(columns: list[SourceColumn]) -> pa.Schema:
    """The schema of the copy."""
    return pa.schema([pa.field(column.name, column.arrow_type) for column in columns])


def _converted(array: pa.Array, column: SourceColumn) -> pa.Array:
    kind = column.arrow_type
    if pa.types.is_date32(kind):
        days = _unwrapped(array.view(pa.int32()), _WRAPPED_DATES, _MOST_DAYS)
        return days.view(kind)
    if pa.types.is_timestamp(kind):
        return _times(array.view(pa.int64()), column).view(kind)
    if array.type == kind:
        return array
    storage = array.storage if isinstance(array, pa.ExtensionArray) else array
    try:
        return pc.cast(storage, kind)
    except pa.ArrowInvalid:
        raise InvalidSource(
            f'the column "{column.name}" has a value that {column.duckdb_type} cannot hold, such as NaN or infinity. '
            "State another type for it, DOUBLE or VARCHAR.",
            attr="columns",
        ) from None


def _times(values: pa.Array, column: SourceColumn) -> pa.Array:
    found = _unwrapped(values, _WRAPPED_TIMES, _MOST_MICROSECONDS)
    finite = pc.and_(pc.greater(found, -_MOST_MICROSECONDS), pc.less(found, _FIRST_TIME))
    if pc.any(finite).as_py():
        raise InvalidSource(
            f'the column "{column.name}" has a time after the year 294246, which {column.duckdb_type} cannot hold.',
            attr="columns",
        )
    return found


def _unwrapped(values: pa.Array, wrapped: tuple[int, int], most: int) -> pa.Array:
    infinity, negative = (pa.scalar(one, values.type) for one in wrapped)
    if not pc.any(pc.is_in(values, pa.array([infinity, negative]))).as_py():
        return values
    found = pc.if_else(pc.equal(values, infinity), pa.scalar(most, values.type), values)
    return pc.if_else(pc.equal(values, negative), pa.scalar(-most, values.type), found)
