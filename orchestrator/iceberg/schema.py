"""The Iceberg schema of a snapshot: the type of each column as its Parquet files hold it.

A reader assigns field ids by name, since the files have none (`name_mapping`). So the id of a field follows from its
name alone: one name can lead to one id only, and a column that has changed its type has the same id in each schema.
A snapshot is always read by its own schema.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from orchestrator.model.errors import UnsupportedInFormat
from orchestrator.model.snapshot import Column
from orchestrator.model.type_names import Kind, kind_of

_TYPES = {
    "BOOLEAN": "boolean",
    "TINYINT": "int",
    "SMALLINT": "int",
    "INTEGER": "int",
    "UTINYINT": "int",
    "USMALLINT": "int",
    "UINTEGER": "long",
    "BIGINT": "long",
    "FLOAT": "float",
    "DOUBLE": "double",
    "VARCHAR": "string",
    "JSON": "string",
    "BLOB": "binary",
    "UUID": "uuid",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
}
# Ids above this are Iceberg's own.
_MOST_IDS = 2**31 - 1 - 200


class _Ids:
    """Field ids that follow from the paths of the fields."""

    def __init__(self) -> None:
        self._taken: dict[int, str] = {}

    def of(self, path: str) -> int:
        number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % _MOST_IDS + 1
        while self._taken.setdefault(number, path) != path:  # two paths of this schema have the same hash
            number = number % _MOST_IDS + 1
        return number


def schema_of(columns: Sequence[Column], schema_id: int) -> dict[str, Any]:
    """The schema of a snapshot with these columns, as Iceberg's JSON.

    Raises UnsupportedInFormat, naming column and type, for a type that Iceberg cannot hold without loss.
    """
    ids = _Ids()
    fields = [
        {
            "id": ids.of(column.name),
            "name": column.name,
            "required": False,
            "type": _type(column, kind_of(column.stored_type or column.duckdb_type), column.name, ids),
        }
        for column in columns
    ]
    return {"type": "struct", "schema-id": schema_id, "fields": fields}


def name_mapping(schema: dict[str, Any]) -> str:
    """The mapping by which a reader gives the columns of a file the ids of the schema, as JSON."""
    return json.dumps(_mapped(schema["fields"]))


def highest_id(schema: dict[str, Any]) -> int:
    """The highest field id in the schema."""
    return max((number for field in schema["fields"] for number in _ids_of(field)), default=0)


def _type(column: Column, kind: Kind, path: str, ids: _Ids) -> Any:  # noqa: ANN401 - JSON
    if kind.name in {"LIST", "ARRAY"}:
        inside = f"{path}.element"
        element = _type(column, kind.children[0], inside, ids)
        return {"type": "list", "element-id": ids.of(inside), "element": element, "element-required": False}
    if kind.name == "MAP":
        key, value = (
            _type(column, child, f"{path}.{part}", ids) for part, child in zip(_MAP, kind.children, strict=True)
        )
        return {
            "type": "map",
            "key-id": ids.of(f"{path}.key"),
            "key": key,
            "value-id": ids.of(f"{path}.value"),
            "value": value,
            "value-required": False,
        }
    if kind.name == "STRUCT":
        parts = [(name, f"{path}.{name}", child) for name, child in zip(kind.fields, kind.children, strict=True)]
        return {
            "type": "struct",
            "fields": [
                {"id": ids.of(inside), "name": name, "required": False, "type": _type(column, child, inside, ids)}
                for name, inside, child in parts
            ],
        }
    if kind.name == "DECIMAL":
        return kind.text.lower().replace(",", ", ")
    if kind.name not in _TYPES:
        raise UnsupportedInFormat(
            f'The column "{column.name}" is of the type {column.duckdb_type}, which Iceberg cannot hold without loss. '
            "Cast it in the view, or read the view in another way."
        )
    return _TYPES[kind.name]


_MAP = ("key", "value")


def _mapped(fields: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_with_inner({"field-id": field["id"], "names": [field["name"]]}, field["type"]) for field in fields]


def _with_inner(entry: dict[str, Any], kind: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    inner = _mapped(_fields_of(kind))
    return entry | {"fields": inner} if inner else entry


def _fields_of(kind: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """The fields inside a type; those of lists and maps are called as in Parquet files."""
    if not isinstance(kind, dict):
        return []
    if kind["type"] == "list":
        return [{"id": kind["element-id"], "name": "element", "type": kind["element"]}]
    if kind["type"] == "map":
        return [{"id": kind[f"{part}-id"], "name": part, "type": kind[part]} for part in _MAP]
    fields: list[dict[str, Any]] = kind["fields"]
    return fields


def _ids_of(field: dict[str, Any]) -> list[int]:
    return [field["id"], *(number for inner in _fields_of(field["type"]) for number in _ids_of(inner))]
