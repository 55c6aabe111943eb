"""The read-only Iceberg catalog of a project: its materialized views as tables, their kept versions as snapshots."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from orchestrator.catalog import names, saved_queries, snapshots
from orchestrator.catalog.database import Database, Transaction
from orchestrator.iceberg.manifests import write_manifests
from orchestrator.iceberg.metadata import TableVersion, milliseconds, number_of, table_metadata
from orchestrator.iceberg.schema import Schema, SchemaCache
from orchestrator.iceberg.shown_versions import ShownVersion, ShownVersions
from orchestrator.iceberg.table_names import DEFAULT_NAMESPACE, Namespace, listed, namespace_key, views_named
from orchestrator.model.errors import NotFound, NotShared
from orchestrator.model.names import name_key
from orchestrator.model.saved_query import SavedQuery
from orchestrator.model.snapshot import Snapshot
from orchestrator.stores.base import SnapshotStore

# Versions that are read from the catalog at once. Ten of 4,096 columns delay other requests by some 0.1 s.
_PAGE = 10


class IcebergService:
    """The catalogs of all projects. `shared_url` is the URL of the store's root for clients; None: they have none."""

    def __init__(self, database: Database, store: SnapshotStore, shared_url: str | None) -> None:
        self._database = database
        self._store = store
        self._shared_url = shared_url.rstrip("/") if shared_url else None
        self._schemas = SchemaCache()

    async def tables(self, project_id: int) -> list[tuple[Namespace, str]]:
        """The namespace and the name of each view that has a result, sorted."""
        async with self._database.single() as tx:
            found = await names.published(tx, project_id)
        return listed(found)

    async def namespaces(self, project_id: int) -> set[Namespace]:
        """All namespaces with a table in them, and those above them."""
        tables = await self.tables(project_id)
        return {own[:n] for own, _ in tables for n in range(1, len(own) + 1)} | {DEFAULT_NAMESPACE}

    async def namespace(self, project_id: int, asked: Sequence[str]) -> Namespace:
        """The namespace in the spelling in which it is listed. Raises NotFound."""
        for found in await self.namespaces(project_id):
            if namespace_key(found) == namespace_key(asked):
                return found
        raise NotFound(f"There is no namespace {'.'.join(asked)[:100]}.")

    async def exists(self, project_id: int, namespace: Sequence[str], table: str) -> bool:
        """Whether there is such a table."""
        async with self._database.begin() as tx:
            return await _find(tx, project_id, namespace, table) is not None

    async def load(self, project_id: int, namespace: Sequence[str], table: str) -> dict[str, Any]:
        """The metadata of a table. Raises NotFound, UnsupportedInFormat, or NotShared."""
        async with self._database.begin() as tx:
            found = await _find(tx, project_id, namespace, table)
            if found is None:
                raise NotFound(f"There is no table {table[:100]} in this namespace.")
            view, current_id = found
            newest = await _newest(tx, view.id, 0)
            current = next((one for one in newest if one.id == current_id), None)
            if current is None:  # after a rollback to an old version
                version = await snapshots.find(tx, view.id, current_id)
                if version is None:
                    raise NotFound(f"There is no table {table[:100]} in this namespace.")
                current = version.snapshot
        if self._shared_url is None:
            raise NotShared(
                "This installation does not say where its clients find the files (MATVIEW_SHARED_DATA_URL)."
            )
        shown = await self._shown(view.id, current, newest)
        versions = [await self._table_version(one) for one in shown.oldest_first()]
        location = f"{self._shared_url}/snapshots/{project_id}/{view.id}"
        return await asyncio.to_thread(table_metadata, view.id, location, versions, shown.names, shown.current_id)

    async def _shown(self, view_id: UUID, current: Snapshot, newest: list[Snapshot]) -> ShownVersions:
        shown = await asyncio.to_thread(ShownVersions, self._schemas, current)
        offset = 0
        while newest:
            await asyncio.to_thread(shown.add, newest)
            offset += _PAGE
            if shown.is_full or len(newest) < _PAGE:
                break
            async with self._database.begin() as tx:
                newest = await _newest(tx, view_id, offset)
        return shown

    async def _table_version(self, version: ShownVersion) -> TableVersion:
        """The version as a snapshot of the table, once its manifests are there."""
        snapshot = version.snapshot
        base = hashlib.sha256((self._shared_url or "").encode()).hexdigest()[:8]
        manifest, manifest_list = f"{base}-manifest.avro", f"{base}-snapshot.avro"
        await self._write(snapshot, version.schema, manifest, manifest_list)
        return TableVersion(
            snapshot_id=snapshot.id,
            published_at=snapshot.created_at,
            schema=version.schema,
            manifest_list=self._metadata_url(snapshot, manifest_list),
            rows=snapshot.rows,
            bytes=snapshot.bytes,
            files=len(snapshot.files),
        )

    async def _write(self, snapshot: Snapshot, schema: Schema, manifest: str, manifest_list: str) -> None:
        """Write the manifests of a version, unless they are there. Two processes that do so write the same.

        The store is asked each time: an operator who restores a backup or deletes `iceberg/` removes manifests of
        versions that are kept.
        """
        present = [await self._store.has_metadata(snapshot.location, name) for name in (manifest, manifest_list)]
        if all(present):
            return
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

    def _metadata_url(self, snapshot: Snapshot, name: str) -> str:
        return f"{self._shared_url}/{self._store.metadata_path(snapshot.location, name)}"


async def _find(
    tx: Transaction, project_id: int, namespace: Sequence[str], table: str
) -> tuple[SavedQuery, UUID] | None:
    """The view that is this table, and the id of its current snapshot."""
    for name in views_named(namespace, table):
        view_id = await names.view_of(tx, project_id, name)
        view = None if view_id is None else await saved_queries.find(tx, project_id, view_id)
        # It may have been renamed in between.
        if view is not None and view.current_snapshot is not None and name_key(view.name) == name_key(name):
            return view, view.current_snapshot.id
    return None


async def _newest(tx: Transaction, view_id: UUID, offset: int) -> list[Snapshot]:
    _, versions = await snapshots.page(tx, view_id, limit=_PAGE, offset=offset, published_only=True)
    return [version.snapshot for version in versions]
