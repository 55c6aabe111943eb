import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.iceberg import schema as module
from orchestrator.iceberg.name_mapping import NameMapping
from orchestrator.iceberg.schema import SchemaCache, schema_of
from orchestrator.model.errors import UnsupportedInFormat
from orchestrator.model.snapshot import Column


def columns(**kinds: str) -> tuple[Column, ...]:
    return tuple(Column(name=name, duckdb_type=kind) for name, kind in kinds.items())


def mapped(*versions: tuple[Column, ...]) -> dict[str, int]:
    """The id of each name in the mapping of these versions, by its path."""
    mapping = NameMapping()
    added = [mapping.add(schema_of(version).fields) for version in versions]
    assert all(added)

    def walk(entries: list[dict[str, Any]], path: str) -> Iterator[tuple[str, int]]:
        for entry in entries:
            (name,) = entry["names"]
            yield path + name, entry["field-id"]
            yield from walk(entry.get("fields", []), f"{path}{name}.")

    return dict(walk(json.loads(mapping.as_json()), ""))


def test_the_mapping_has_the_fields_of_all_versions_at_every_depth() -> None:
    versions = [
        columns(kept="INTEGER", gone="INTEGER", a="STRUCT(x STRUCT(p INTEGER))", m="MAP(VARCHAR, INTEGER)"),
        columns(kept="VARCHAR", new="INTEGER", a="STRUCT(y INTEGER)[]", m="STRUCT(key INTEGER)"),
        columns(a="INTEGER", m="INTEGER"),
    ]
    whole = mapped(*versions)
    assert set(whole) == {"kept", "gone", "new"} | {
        "a", "a.x", "a.x.p", "a.element", "a.element.y", "m", "m.key", "m.value",
    }  # fmt: skip
    for version in versions:
        assert mapped(version).items() <= whole.items()


def test_a_version_in_which_a_field_has_another_id_does_not_fit_the_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    class SameHash:
        def digest(self) -> bytes:
            return bytes(32)

        def hexdigest(self) -> str:
            return ""

    monkeypatch.setattr(hashlib, "sha256", lambda _: SameHash())
    mapping = NameMapping()
    assert mapping.add(schema_of(columns(a="INTEGER", b="INTEGER")).fields)
    assert not mapping.add(schema_of(columns(b="INTEGER", a="INTEGER")).fields)
    assert [entry["field-id"] for entry in json.loads(mapping.as_json())] == [1, 2]


def test_a_schema_is_made_once_for_equal_columns_and_refusals_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(asked: tuple[Column, ...]) -> module.Schema:
        made.append(asked)
        return schema_of(asked)

    monkeypatch.setattr(module, "schema_of", counted)
    cache = SchemaCache()
    assert cache.of(columns(a="INTEGER")) is cache.of(columns(a="INTEGER"))
    assert cache.of(columns(a="BIGINT")).digest != cache.of(columns(a="INTEGER")).digest
    for _ in range(3):
        with pytest.raises(UnsupportedInFormat, match="UBIGINT"):
            cache.of(columns(a="UBIGINT"))
    assert made == [columns(a="INTEGER"), columns(a="BIGINT"), columns(a="UBIGINT")]


def test_the_schemas_that_are_kept_have_a_limited_size() -> None:
    cache = SchemaCache(most_characters=1000)
    for number in range(100):
        cache.of(columns(**{f"c{number}": "INTEGER"}))
    assert sum(module._characters(one) for one in cache._kept.values()) == cache._characters <= 1000
    wide = columns(**{f"c{number}": "INTEGER" for number in range(100)})
    assert cache.of(wide) is cache.of(wide)
    cache.of(columns(a="INTEGER"))
    assert len(cache._kept) == 1


@pytest.mark.parametrize(
    "kinds",
    [
        {"a.b": "INTEGER", "a": "STRUCT(b INTEGER)"},
        {"a": "STRUCT(INTEGER, INTEGER)"},
        {"a": "INTEGER" + "[]" * 50},
    ],
)
def test_columns_that_no_client_could_read_are_refused(kinds: dict[str, str]) -> None:
    with pytest.raises(UnsupportedInFormat, match='column "a"'):
        schema_of(columns(**kinds))
