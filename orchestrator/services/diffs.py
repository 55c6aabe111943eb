"""Diffs of two versions of a view: which columns they have, and in which rows they differ."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from orchestrator.catalog import saved_queries, snapshots
from orchestrator.catalog.database import Database, Transaction
from orchestrator.model.diff import Comparison, DiffPlan, comparison, equal_rows
from orchestrator.model.errors import NotFound
from orchestrator.model.run import SnapshotRelation
from orchestrator.model.snapshot import Snapshot, seen
from orchestrator.services.reading import ReadService
from orchestrator.stores.base import SnapshotStore

_NO_VERSION = "There is no such version, or it is no longer kept. `matview view versions` lists those that are."
_NO_CURRENT = "This view has no current version to compare with. Name the other version with `to`."


class ComparedVersions(NamedTuple):
    """Two versions of a view, and the comparison of their columns. The later one may not be published."""

    name: str
    before: Snapshot
    after: Snapshot
    comparison: Comparison
    is_published: bool = True

    @property
    def are_equal(self) -> bool:
        """Whether it is known without reading them that they have the same rows of the same columns."""
        if self.before.id == self.after.id:
            return True
        is_same = self.before.content is not None and self.before.content == self.after.content
        return is_same and self.before.rows == self.after.rows and seen(self.before.columns) == seen(self.after.columns)


class DiffRequest(NamedTuple):
    """The part of a diff that is shown: at most `rows` rows of each kind. `large_as_text` is as in a ReadPlan."""

    rows: int
    large_as_text: bool = False


@dataclass(frozen=True)
class DiffService:
    """Compares versions within the limits of a query that a client reads."""

    database: Database
    store: SnapshotStore
    reading: ReadService

    async def versions(
        self, project_id: int, saved_query_id: UUID, before: UUID, after: UUID | None, key: Sequence[str]
    ) -> ComparedVersions:
        """Two versions of a view; `after` None is the current one.

        Raises NotFound, or Invalid for a key that is not in both of them.
        """
        async with self.database.begin() as tx:
            view = await saved_queries.find(tx, project_id, saved_query_id)
            if view is None:
                raise NotFound
            current = view.current_snapshot
            if after is None and current is None:
                raise NotFound(_NO_CURRENT)
            later = after or (current.id if current else before)
            one, other = [await _version(tx, view.id, version) for version in (before, later)]
        return compared(view.name, one, other, key)

    @asynccontextmanager
    async def members(
        self, project_id: int, versions: ComparedVersions, wanted: DiffRequest
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The rows that differ, as the members of a JSON object, without braces, in parts.

        Versions of which it is known that they are equal are not read. The files of the others are kept until the
        context ends. Raises NotFound if one was just removed, and the errors of a query.
        """
        if versions.are_equal:
            yield _once(json.dumps(equal_rows(versions.after.rows), separators=(",", ":"))[1:-1].encode())
            return
        async with AsyncExitStack() as stack:
            read = await self.reading.open(stack, project_id, None)
            published = [versions.before, *([versions.after] if versions.is_published else [])]
            await self.reading.lease(read.read, [one.id for one in published])
            plan = DiffPlan(
                before=_relation(f"{versions.name} (from)", versions.before),
                after=_relation(f"{versions.name} (to)", versions.after),
                names=tuple((pair.before.name, pair.after.name) for pair in versions.comparison.pairs),
                key=versions.comparison.key,
                has_same_columns=versions.comparison.has_same_columns,
                rows=wanted.rows,
                limits=read.limits,
                timeout_seconds=read.seconds,
                large_as_text=wanted.large_as_text,
            )
            stream = await stack.enter_async_context(read.session.diff(plan, self.store.file_url))
            yield stream.chunks()


def compared(name: str, before: Snapshot, after: Snapshot, key: Sequence[str]) -> ComparedVersions:
    """Two versions of the view of this name, and the comparison of their columns. Raises Invalid."""
    return ComparedVersions(name, before, after, comparison(before.columns, after.columns, key))


async def _version(tx: Transaction, saved_query_id: UUID, snapshot_id: UUID) -> Snapshot:
    found = await snapshots.find(tx, saved_query_id, snapshot_id)
    if found is None:
        raise NotFound(_NO_VERSION)
    return found.snapshot


def _relation(name: str, snapshot: Snapshot) -> SnapshotRelation:
    return SnapshotRelation(
        name=name,
        id=snapshot.saved_query_id,
        snapshot_id=snapshot.id,
        location=snapshot.location,
        files=snapshot.files,
        columns=snapshot.columns,
    )


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
