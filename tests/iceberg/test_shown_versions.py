from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from orchestrator.iceberg.manifests import write_manifests
from orchestrator.iceberg.metadata import TableVersion, table_metadata
from orchestrator.iceberg.schema import SchemaCache, schema_of
from orchestrator.iceberg.shown_versions import ShownVersions
from orchestrator.model.errors import UnsupportedInFormat
from orchestrator.model.snapshot import Column, Snapshot, SnapshotFile

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def version(number: int, kind: str = "INTEGER", name: str = "n") -> Snapshot:
    return Snapshot(
        id=UUID(int=number << 65),
        run_id=uuid4(),
        saved_query_id=UUID(int=1),
        revision_id=uuid4(),
        attempt=1,
        location=f"1/1/{number}",
        files=(),
        rows=0,
        bytes=0,
        columns=(Column(name=name, duckdb_type=kind),),
        inputs=(),
        engine_version="",
        created_at=BEGAN + timedelta(seconds=number),
    )


def shown(versions: ShownVersions) -> list[int]:
    return [one.snapshot.id.int >> 65 for one in versions.oldest_first()]


def test_the_current_version_is_shown_whatever_its_age_and_the_newest_others_are() -> None:
    versions = ShownVersions(SchemaCache(), version(1), most_versions=3)
    versions.add([version(9), version(8)])
    versions.add([version(7), version(1)])
    assert versions.is_full
    assert shown(versions) == [1, 8, 9]


def test_old_versions_are_left_out_if_the_schemas_are_too_large_together() -> None:
    size = schema_of(version(1, name="c1").columns).characters
    versions = ShownVersions(SchemaCache(), version(9, name="c9"), most_characters=size * 2 + size // 2)
    versions.add([version(9, name="c9"), version(8, name="c9"), version(7, name="c7"), version(6, name="c7")])
    assert not versions.is_full
    versions.add([version(5, name="c5"), version(4, name="c9")])
    assert versions.is_full
    assert shown(versions) == [6, 7, 8, 9]
    alone = ShownVersions(SchemaCache(), version(9), most_characters=1)
    assert shown(alone) == [9]


def test_a_version_that_iceberg_cannot_hold_is_left_out_unless_it_is_the_current_one() -> None:
    versions = ShownVersions(SchemaCache(), version(3))
    versions.add([version(2, "UBIGINT"), version(1)])
    assert shown(versions) == [1, 3]
    with pytest.raises(UnsupportedInFormat):
        ShownVersions(SchemaCache(), version(4, "UBIGINT"))


def test_versions_with_equal_columns_have_one_schema_in_the_metadata() -> None:
    versions = ShownVersions(SchemaCache(), version(4))
    versions.add([version(3, "BIGINT"), version(2), version(1, name="gone")])
    rows = [
        TableVersion(one.snapshot.id, one.snapshot.created_at, one.schema, "", 0, 0, 0)
        for one in versions.oldest_first()
    ]
    made = table_metadata(UUID(int=1), "", rows, versions.names, versions.current_id)
    assert [one["schema-id"] for one in made["schemas"]] == [0, 1, 2]
    assert [one["schema-id"] for one in made["snapshots"]] == [0, 1, 2, 1]
    assert made["current-schema-id"] == 1
    assert made["current-snapshot-id"] == 4


@pytest.mark.parametrize("kind", ["INTEGER" + "[]" * 49, "STRUCT(a " * 49 + "INTEGER" + ")" * 49])
def test_pyiceberg_reads_types_of_the_greatest_depth(kind: str) -> None:
    schema = schema_of(version(1, kind).columns)
    files = [("file:///a", SnapshotFile(name="a", rows=1, bytes=1))]
    made = write_manifests(schema, files, snapshot_id=1, sequence=1, manifest_url="file:///m")
    assert made.manifest_list
