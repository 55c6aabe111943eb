"""The metadata of an Iceberg table: all kept versions of a view as snapshots, each with its own schema."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.iceberg.name_mapping import NameMapping
from orchestrator.iceberg.schema import Schema

_FORMAT_VERSION = 2
_SPEC = {"spec-id": 0, "fields": []}
_LAST_PARTITION_ID = 999  # Iceberg's number for a table without partitions


class TableVersion(NamedTuple):
    """A version of a view, as a snapshot of a table. `manifest_list` is its URL."""

    snapshot_id: UUID
    published_at: datetime
    schema: Schema
    manifest_list: str
    rows: int
    bytes: int
    files: int


def number_of(snapshot_id: UUID) -> int:
    """Iceberg's number of a snapshot: 63 bits of its id."""
    return snapshot_id.int >> 65


def milliseconds(moment: datetime) -> int:
    """A moment as Iceberg counts it."""
    return round(moment.timestamp() * 1000)


def table_metadata(
    table_id: UUID, location: str, versions: Sequence[TableVersion], names: NameMapping, current: UUID
) -> dict[str, Any]:
    """The metadata of a table with these versions, oldest first, of which `current` is the one that readers see.

    `names` has the fields of all of them.
    """
    schemas = {version.schema.digest: version.schema for version in versions}
    numbers = {digest: number for number, digest in enumerate(schemas)}
    snapshots = [_snapshot(version, numbers[version.schema.digest]) for version in versions]
    shown = next(one for one in snapshots if one["snapshot-id"] == number_of(current))
    return {
        "format-version": _FORMAT_VERSION,
        "table-uuid": str(table_id),
        "location": location,
        "last-sequence-number": max(one["sequence-number"] for one in snapshots),
        "last-updated-ms": max(one["timestamp-ms"] for one in snapshots),
        "last-column-id": max(schema.highest_id for schema in schemas.values()),
        "schemas": [schema.numbered(number) for number, schema in enumerate(schemas.values())],
        "current-schema-id": shown["schema-id"],
        "partition-specs": [_SPEC],
        "default-spec-id": 0,
        "last-partition-id": _LAST_PARTITION_ID,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": {"schema.name-mapping.default": names.as_json()},
        "current-snapshot-id": shown["snapshot-id"],
        "refs": {"main": {"type": "branch", "snapshot-id": shown["snapshot-id"]}},
        "snapshots": snapshots,
        "snapshot-log": [
            {"snapshot-id": one["snapshot-id"], "timestamp-ms": one["timestamp-ms"]}
            for one in snapshots
            if one["timestamp-ms"] <= shown["timestamp-ms"]
        ],
        "metadata-log": [],
    }


def _snapshot(version: TableVersion, schema_id: int) -> dict[str, Any]:
    return {
        "snapshot-id": number_of(version.snapshot_id),
        "sequence-number": milliseconds(version.published_at),
        "timestamp-ms": milliseconds(version.published_at),
        "manifest-list": version.manifest_list,
        "schema-id": schema_id,
        "summary": {
            "operation": "overwrite",
            "matview.snapshot-id": str(version.snapshot_id),
            "total-records": str(version.rows),
            "total-files-size": str(version.bytes),
            "total-data-files": str(version.files),
        },
    }
