"""The Iceberg schema of a snapshot: the type of each column as its Parquet files hold it.

A reader assigns field ids by name, since the files have none (`NameMapping`). So the id of a field follows from its
name alone: one name can lead to one id only, and a column that has changed its type has the same id in each schema.
A snapshot is always read by its own schema.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

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
# Levels of types in one another. The JSON of a level takes up to three, and pyiceberg 0.12 parses 200.
_DEEPEST = 50
# The JSON of the schemas that are kept. As objects they take some ten times as much memory.
_MOST_CHARACTERS = 4_000_000


class Schema(NamedTuple):
    """The schema of all versions with the same columns. `fields` are Iceberg's JSON, of `characters` characters.

    `digest` is equal for equal columns, and only for these.
    """

    digest: str
    fields: list[dict[str, Any]]
    highest_id: int
    characters: int

    def numbered(self, schema_id: int) -> dict[str, Any]:
        """Iceberg's JSON of the schema."""
        return {"type": "struct", "schema-id": schema_id, "fields": self.fields}


class SchemaCache:
    """Schemas by their columns. Those that were not used for the longest time are dropped first.

    Without it, each load of a table would hash each field of each version: 4,096 structs take 0.1 s a version.
    """

    def __init__(self, most_characters: int = _MOST_CHARACTERS) -> None:
        self._most = most_characters
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Schema | str] = OrderedDict()
        self._characters = 0

    def of(self, columns: Sequence[Column]) -> Schema:
        """The schema of a version with these columns. Raises what `schema_of` does."""
        digest = _digest(columns)
        with self._lock:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
        if found is None:
            try:
                found = schema_of(columns)
            except UnsupportedInFormat as error:
                found = error.message
            self._keep(digest, found)
        if isinstance(found, str):
            raise UnsupportedInFormat(found)
        return found

    def _keep(self, digest: str, made: Schema | str) -> None:
        with self._lock:
            if digest in self._kept:  # made by another thread in between
                return
            self._kept[digest] = made
            self._characters += _characters(made)
            while self._characters > self._most and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._characters -= _characters(dropped)


class _Ids:
    """Field ids that follow from the paths of the fields."""

    def __init__(self) -> None:
        self._taken: dict[int, str] = {}

    def of(self, column: Column, path: str) -> int:
        number = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) % _MOST_IDS + 1
        while number in self._taken:
            if self._taken[number] == path:
                # Iceberg's clients refuse a table with two such fields: a column "a.b" beside a field b in a column a.
                raise UnsupportedInFormat(
                    f'The column "{column.name}" has a field that Iceberg cannot tell from another one of the view: '
                    f'both are "{path}". Rename one of them in the view, or read the view in another way.'
                )
            number = number % _MOST_IDS + 1  # two paths of this schema have the same hash
        self._taken[number] = path
        return number

    @property
    def highest(self) -> int:
        return max(self._taken, default=0)


def schema_of(columns: Sequence[Column]) -> Schema:
    """The schema of a version with these columns.

    Raises UnsupportedInFormat, naming column and type, for a type that Iceberg cannot hold without loss.
    """
    ids = _Ids()
    fields = [
        {
            "id": ids.of(column, column.name),
            "name": column.name,
            "required": False,
            "type": _type(column, kind_of(column.stored_type or column.duckdb_type), column.name, ids),
        }
        for column in columns
    ]
    return Schema(_digest(columns), fields, ids.highest, len(json.dumps(fields)))


def inner_fields(kind: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """The fields inside a type of a schema; those of lists and maps are called as in Parquet files."""
    if not isinstance(kind, dict):
        return []
    if kind["type"] == "list":
        return [{"id": kind["element-id"], "name": "element", "type": kind["element"]}]
    if kind["type"] == "map":
        return [{"id": kind[f"{part}-id"], "name": part, "type": kind[part]} for part in _MAP]
    fields: list[dict[str, Any]] = kind["fields"]
    return fields


def _digest(columns: Sequence[Column]) -> str:
    texts = [(column.name, column.stored_type or column.duckdb_type) for column in columns]
    # Text of a type may hold any character, so that only an escaped form separates the parts.
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _characters(made: Schema | str) -> int:
    return len(made) if isinstance(made, str) else made.characters


def _type(column: Column, kind: Kind, path: str, ids: _Ids, depth: int = 1) -> Any:  # noqa: ANN401 - JSON
    if depth > _DEEPEST:
        raise UnsupportedInFormat(
            f'The type of the column "{column.name}" is nested more than {_DEEPEST} deep. Read the view in another way.'
        )
    if kind.name in {"LIST", "ARRAY"}:
        inside = f"{path}.element"
        element = _type(column, kind.children[0], inside, ids, depth + 1)
        return {"type": "list", "element-id": ids.of(column, inside), "element": element, "element-required": False}
    if kind.name == "MAP":
        key, value = (
            _type(column, child, f"{path}.{part}", ids, depth + 1)
            for part, child in zip(_MAP, kind.children, strict=True)
        )
        return {
            "type": "map",
            "key-id": ids.of(column, f"{path}.key"),
            "key": key,
            "value-id": ids.of(column, f"{path}.value"),
            "value": value,
            "value-required": False,
        }
    if kind.name == "STRUCT":
        parts = [(name, f"{path}.{name}", child) for name, child in zip(kind.fields, kind.children, strict=True)]
        return {
            "type": "struct",
            "fields": [
                {
                    "id": ids.of(column, inside),
                    "name": name,
                    "required": False,
                    "type": _type(column, child, inside, ids, depth + 1),
                }
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
