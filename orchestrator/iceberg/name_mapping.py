"""The mapping by which a reader gives the columns of a file, which have no ids, the ids of a table's schemas.

A table has one for all of its versions, so it has the fields of all of them. pyiceberg fails at a file with a column
that is not in it, and would otherwise read no version from before a column was removed.
"""

import json
from collections.abc import Sequence
from typing import Any

from orchestrator.iceberg.schema import inner_fields


class _Name:
    """A name, the id of its fields, and the names inside of it in any version."""

    def __init__(self, field_id: int) -> None:
        self.field_id = field_id
        self.inner: dict[str, _Name] = {}


class NameMapping:
    """The names of the fields of several schemas, at every depth."""

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}

    def add(self, fields: Sequence[dict[str, Any]]) -> bool:
        """Add the fields of a schema. False if the mapping cannot be used with that schema.

        Then one of its fields has another id than in an earlier schema, since another field of one of the two has the
        same hash. The mapping is correct for the earlier schemas nevertheless.
        """
        return _add(self._names, fields)

    def as_json(self) -> str:
        """The mapping as Iceberg's JSON."""
        return json.dumps(_entries(self._names))


def _add(names: dict[str, _Name], fields: Sequence[dict[str, Any]]) -> bool:
    fits = True
    for field in fields:
        name = names.setdefault(field["name"], _Name(field["id"]))
        inner = _add(name.inner, inner_fields(field["type"]))
        fits = fits and inner and name.field_id == field["id"]
    return fits


def _entries(names: dict[str, _Name]) -> list[dict[str, Any]]:
    return [
        {"field-id": name.field_id, "names": [text]} | ({"fields": _entries(name.inner)} if name.inner else {})
        for text, name in names.items()
    ]
