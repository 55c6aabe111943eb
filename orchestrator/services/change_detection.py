"""Decides whether a view's query would give its current result again, so that it need not run.

It compares content, not times: a file that was touched but holds the same bytes has not changed, nor has a view that
ran again and gave the same rows in another order. In doubt the query runs.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError

from orchestrator.catalog import snapshots
from orchestrator.catalog.database import Database
from orchestrator.catalog.snapshots import CurrentVersion
from orchestrator.engines.base import SourceListing
from orchestrator.model.engine import Engine
from orchestrator.model.errors import CatalogUnavailable, OrchestratorError
from orchestrator.model.file_patterns import is_database_pattern
from orchestrator.model.run import Relation, RunPlan, SourceRelation
from orchestrator.model.snapshot import InputFile, Manifest, ResolvedInput, Snapshot
from orchestrator.services.pinned_sources import GenerationPins
from orchestrator.stores.base import SnapshotStore

# Part of every recipe: another release may read texts by other rules, and give another result.
_RELEASE = importlib.metadata.version("matview")
# Files that were only touched are read to compare their content, up to so many bytes. More is left to the query.
_MOST_BYTES = 4 << 30
UNCHANGED = "Nothing that it reads has changed since its current version was made."
_FOOTER_DIGEST = "xxh128-footer:"
_NOTHING: Mapping[UUID, str | None] = {}
_DESCRIBED: Mapping[str, set[str]] = {
    "source": {"kind", "name", "id", "format", "url_pattern", "columns", "options", "stated"},
    "snapshot": {"kind", "name", "id", "columns"},
    "view": {"kind", "name", "id", "sql", "dialect"},
}


def recipe_of(plan: RunPlan, engine_version: str) -> str:
    """The digest of all that decides the plan's result, except the content of its inputs."""
    # In one order: alone and in a generation, a view has the same inputs in another one.
    ordered = sorted(plan.relations, key=lambda relation: relation.id)
    relations = [relation.model_dump(mode="json", include=_DESCRIBED[relation.kind]) for relation in ordered]
    decisive: list[object] = [_RELEASE, engine_version, plan.sql, relations]
    if plan.engine is not Engine.DUCKDB:
        # The version of a cluster is not part of it: only the cluster itself knows that, and it may be away.
        decisive = [_RELEASE, plan.engine, plan.translated, plan.sql, relations]
    recipe = json.dumps(decisive, sort_keys=True)
    return f"sha256:{hashlib.sha256(recipe.encode()).hexdigest()}"


@dataclass(frozen=True)
class ChangeDetector:
    """Compares plans with the current versions of their views. `engine_version` is the engine that would run them."""

    database: Database
    store: SnapshotStore
    engine_version: str

    async def find_change(
        self,
        plan: RunPlan,
        current: CurrentVersion | None,
        pins: GenerationPins,
        unpublished: Mapping[UUID, str | None] = _NOTHING,
    ) -> str | None:
        """Why the plan's query has to run; None if nothing has changed since the `current` version of its view.

        `plan` must name a version of each view that it reads. `pins` are those of its generation, `unpublished` the
        digests of the rows of versions that it has written.

        After a run that did not complete the query runs in any case, so that the status of the view becomes true again.
        It also runs if something cannot be compared. Raises CatalogUnavailable.
        """
        if plan.full_refresh:
            return "A full refresh was asked for."
        if current is None or not current.last_run_completed:
            return "The view has no result yet, or its last run did not complete."
        try:
            return self._changed_query(plan, current.snapshot) or await self._changed_data(
                plan, current.snapshot, pins, unpublished
            )
        except CatalogUnavailable:
            raise
        except (OrchestratorError, ValidationError) as error:
            return f"It cannot be compared with its current version: {error}"

    def _changed_query(self, plan: RunPlan, version: Snapshot) -> str | None:
        if version.revision_id != plan.revision_id:
            return "Its query has changed."
        if version.recipe != recipe_of(plan, self.engine_version):
            return "An input is defined otherwise, or the engine has another version."
        return None if version.deterministic else "Its query may give other rows each time."

    async def _changed_data(
        self, plan: RunPlan, version: Snapshot, pins: GenerationPins, unpublished: Mapping[UUID, str | None]
    ) -> str | None:
        if not await self.store.is_whole(version.location, (*version.files, *version.quarantine)):
            return "A file of its result is missing or damaged."
        before = {one.id: one for one in version.inputs}
        listings: dict[UUID, str] = {}
        contents = {**await self._contents(plan, before), **unpublished}
        for relation in plan.relations:
            known = before.get(relation.id)
            if known is None:
                return f'"{relation.name}" was not read before.'
            if relation.kind == "source":
                listing = (await pins.of(relation)).listing
                change = await self._changed_files(relation, known, listing, version, pins)
                if listing.is_settled:
                    listings[relation.id] = listing.digest
            else:
                change = _changed_view(relation, known, contents)
            if change:
                return change
        await self._remember(version, listings)
        return None

    async def _contents(self, plan: RunPlan, before: Mapping[UUID, ResolvedInput]) -> Mapping[UUID, str]:
        """The digests of the rows of all versions that were read before or are to be read now, as far as known."""
        now = {relation.snapshot_id for relation in plan.relations if relation.kind == "snapshot"}
        then = {one.snapshot_id for one in before.values() if one.snapshot_id}
        if now == then:
            return {}
        async with self.database.begin() as tx:
            return await snapshots.contents(tx, now | then)

    async def _changed_files(
        self,
        table: SourceRelation,
        known: ResolvedInput,
        listing: SourceListing,
        version: Snapshot,
        pins: GenerationPins,
    ) -> str | None:
        if listing.digest == known.listing:
            return None
        is_copied = is_database_pattern(table.url_pattern)
        if is_copied or table.options.hive_partitioning:  # the folder to which a link leads may be part of a row
            return f'"{table.name}" has other rows.' if is_copied else f'The files of "{table.name}" may have changed.'
        files = await self._files_of(version, table)
        if files is None or len(files) != known.file_count:
            return f'The files of "{table.name}" have changed.'
        new, gone = listing.files.keys() - files.keys(), files.keys() - listing.files.keys()
        if new or gone:
            return f'"{table.name}" has {len(new)} new files, and {len(gone)} fewer of those before.'
        touched = {path: files[path] for path, file in listing.files.items() if file.identity != files[path].identity}
        if not await _are_equal(table, touched, listing, pins):
            return f'A file of "{table.name}" has changed.'
        return None

    async def _files_of(self, version: Snapshot, table: SourceRelation) -> Mapping[str, InputFile] | None:
        """All files of the table that the version was made from, by path. Only its manifest surely lists all."""
        manifest = Manifest.model_validate_json(await self.store.manifest(version.location))
        found = next((one for one in manifest.snapshot.inputs if one.id == table.id), None)
        return None if found is None else {file.path: file for file in found.files}

    async def _remember(self, version: Snapshot, listings: Mapping[UUID, str]) -> None:
        """Record the identities under which the files are known now, so that they are not read again next time."""
        if all(listings.get(one.id, one.listing) == one.listing for one in version.inputs):
            return
        inputs = [one.model_copy(update={"listing": listings.get(one.id, one.listing)}) for one in version.inputs]
        async with self.database.begin() as tx:
            await snapshots.set_inputs(tx, version.id, inputs)


async def _are_equal(
    table: SourceRelation, touched: Mapping[str, InputFile], listing: SourceListing, pins: GenerationPins
) -> bool:
    """Whether files that were touched hold the same bytes as before."""
    for path, file in touched.items():
        if file.bytes != listing.files[path].bytes or not file.digest or file.digest.startswith(_FOOTER_DIGEST):
            return False
    if sum(file.bytes for file in touched.values()) > _MOST_BYTES:
        return False
    digests = await pins.digests(table, touched)
    return all(digests.get(path) == file.digest for path, file in touched.items())


def _changed_view(relation: Relation, known: ResolvedInput, contents: Mapping[UUID, str | None]) -> str | None:
    if relation.kind != "snapshot" or relation.snapshot_id == known.snapshot_id:
        return None
    before = contents.get(known.snapshot_id) if known.snapshot_id else None
    if before is not None and before == contents.get(relation.snapshot_id):
        return None
    return f'"{relation.name}" has other rows.'
