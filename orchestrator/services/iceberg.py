"""The read-only Iceberg catalog of a project: its materialized views as tables, their kept versions as snapshots."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from orchestrator.catalog import names, saved_queries, snapshots
from orchestrator.catalog.database import Database
from orchestrator.iceberg.manifests import write_manifests
from orchestrator.iceberg.metadata import TableVersion, milliseconds, number_of, table_metadata
from orchestrator.iceberg.schema import schema_of
from orchestrator.model.errors import NotFound, NotShared, UnsupportedInFormat
from orchestrator.model.names import name_key
from orchestrator.model.snapshot import PublishedSnapshot, Snapshot
from orchestrator.stores.base import SnapshotStore

DEFAULT_NAMESPACE = ("default",)
# More versions than this are not shown as snapshots: the newest are.
_MOST_VERSIONS = 200


class IcebergService:
    """The catalogs of all projects. `shared_url` is the URL of the store's root for clients; None: they have none."""

    def __init__(self, database: Database, store: SnapshotStore, shared_url: str | None) -> None:
        self._database = database
        self._store = store
        self._shared_url = shared_url.rstrip("/") if shared_url else None
        self._written: set[UUID] = set()

    async def tables(self, project_id: int) -> list[tuple[tuple[str, ...], str]]:
        """The namespace and the name of each view that has a result, sorted."""
        async with self._database.single() as tx:
            found = await names.published(tx, project_id)
        return sorted(_split(name) for name in found)

    async def load(self, project_id: int, namespace: Sequence[str], table: str) -> dict[str, Any]:
        """The metadata of a table. Raises NotFound, UnsupportedInFormat, or NotShared."""
        name = table if tuple(namespace) == DEFAULT_NAMESPACE else ".".join([*namespace, table])
        async with self._database.begin() as tx:
            view_id = await names.view_of(tx, project_id, name)
            view = None if view_id is None else await saved_queries.find(tx, project_id, view_id)
            if view is None or view.current_snapshot is None or name_key(view.name) != name_key(name):
                raise NotFound(f"There is no table {name}.")
            _, versions = await snapshots.page(tx, view.id, limit=_MOST_VERSIONS, offset=0)
        if self._shared_url is None:
            raise NotShared(
                "This installation does not say where its clients find the files (MATVIEW_SHARED_DATA_URL)."
            )
        shown = [one for one in [await self._table_version(v) for v in reversed(versions)] if one is not None]
        location = f"{self._shared_url}/snapshots/{project_id}/{view.id}"
        return table_metadata(view.id, location, shown, view.current_snapshot.id)

    async def _table_version(self, version: PublishedSnapshot) -> TableVersion | None:
        """The version as a snapshot of the table; None for an older one that Iceberg cannot hold."""
        snapshot = version.snapshot
        try:
            schema = schema_of(snapshot.columns, 0)
        except UnsupportedInFormat:
            if version.is_current:
                raise
            return None
        base = hashlib.sha256((self._shared_url or "").encode()).hexdigest()[:8]
        names_of_files = f"{base}-manifest.avro", f"{base}-snapshot.avro"
        if snapshot.id not in self._written:
            await self._write(snapshot, schema, *names_of_files)
        return TableVersion(
            snapshot_id=snapshot.id,
            published_at=snapshot.created_at,
            schema=schema,
            manifest_list=self._metadata_url(snapshot, names_of_files[1]),
            rows=snapshot.rows,
            bytes=snapshot.bytes,
            files=len(snapshot.files),
        )

    async def _write(self, snapshot: Snapshot, schema: dict[str, Any], manifest: str, manifest_list: str) -> None:
        """Write the manifests of a version, unless they are there. Two processes that do so write the same."""
        if not await self._store.has_metadata(snapshot.location, manifest_list):
            files = [
                (f"{self._shared_url}/{self._store.relative_path(snapshot.location, file.name)}", file)
                for file in snapshot.files
            ]
            made = await asyncio.to_thread(
                write_manifests,
                schema,
                files,
                snapshot_id=number_of(snapshot.id),
                sequence=milliseconds(snapshot.created_at),
                manifest_url=self._metadata_url(snapshot, manifest),
            )
            await self._store.add_metadata(snapshot.location, manifest, made.manifest)
            await self._store.add_metadata(snapshot.location, manifest_list, made.manifest_list)
        self._written.add(snapshot.id)

    def _metadata_url(self, snapshot: Snapshot, name: str) -> str:
        return f"{self._shared_url}/{self._store.metadata_path(snapshot.location, name)}"


def _split(name: str) -> tuple[tuple[str, ...], str]:
    *namespace, table = name.split(".")
    return tuple(namespace) or DEFAULT_NAMESPACE, table
