"""DuckDB's types as Spark has them, and the reverse."""

import re

from orchestrator.model.type_names import Kind, kind_of

_PLAIN = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "TINYINT",
    "SMALLINT": "SMALLINT",
    "INTEGER": "INT",
    "BIGINT": "BIGINT",
    "HUGEINT": "DECIMAL(38,0)",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INT",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "FLOAT": "FLOAT",
    "DOUBLE": "DOUBLE",
    "VARCHAR": "STRING",
    "JSON": "STRING",
    "ENUM": "STRING",
    "BLOB": "BINARY",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMP_S": "TIMESTAMP_NTZ",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
# Spark's own names of types, as its schemas have them.
_OF_SPARK = {
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp_ntz": "TIMESTAMP",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def spark_type(duckdb_type: str) -> str | None:
    """The type in which Spark holds values of a DuckDB type, None if it has none."""
    return _spark_type(kind_of(duckdb_type))


def _spark_type(kind: Kind) -> str | None:
    if not kind.children:
        return kind.text.replace(" ", "").upper() if kind.name == "DECIMAL" else _PLAIN.get(kind.name)
    children = [_spark_type(child) for child in kind.children]
    if None in children or (kind.fields and not all(kind.fields)):
        return None
    if kind.name == "STRUCT":
        fields = zip(kind.fields, children, strict=True)
        return f"STRUCT<{', '.join(f'{backticked(name)}: {child}' for name, child in fields)}>"
    nested = {"LIST": "ARRAY", "ARRAY": "ARRAY", "MAP": "MAP"}.get(kind.name)
    return nested and f"{nested}<{', '.join(map(str, children))}>"


def duckdb_type(name: str) -> str | None:
    """The DuckDB type of a plain Spark type, by the name that Spark's schemas give it; None if it has none."""
    decimal = _DECIMAL.fullmatch(name)
    return f"DECIMAL({decimal[1]},{decimal[2]})" if decimal else _OF_SPARK.get(name)


def backticked(identifier: str) -> str:
    """`identifier` as a quoted identifier of Spark's SQL."""
    return "`" + identifier.replace("`", "``") + "`"
