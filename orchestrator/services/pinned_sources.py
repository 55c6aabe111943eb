"""The files of source tables as a generation reads them: listed once, by the first of its steps that needs them."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.catalog import source_copies, source_pins
from orchestrator.catalog.database import Database, Transaction
from orchestrator.engines.base import SourceFileState, SourceLister, SourceListing
from orchestrator.model.database_tables import SourceCopy
from orchestrator.model.errors import InputReplaced
from orchestrator.model.file_patterns import is_database_pattern
from orchestrator.model.remote_files import COPY_VERSION
from orchestrator.model.run import Relation, SourceRelation

# Listings are kept in memory too, since each of a hundred members would otherwise unpack the same one. In files.
_MOST_FILES = 100_000


class Pin(NamedTuple):
    """The files of a source table as a generation reads them. `round` counts the pins that it has given up before."""

    round: int
    listing: SourceListing


@dataclass(frozen=True)
class PinnedSources:
    """The pins of all generations."""

    database: Database
    lister: SourceLister
    _known: "OrderedDict[tuple[UUID, UUID, int], SourceListing]" = field(default_factory=OrderedDict, init=False)

    def of(self, generation_id: UUID, project_id: int) -> "GenerationPins":
        """The pins of one generation, for one of its steps."""
        return GenerationPins(self, generation_id, project_id)

    async def find(self, generation_id: UUID, table_id: UUID) -> Pin | None:
        """The pin of a table, if it has one."""
        async with self.database.single() as tx:
            stored = await source_pins.load(tx, generation_id, table_id)
        if stored is None:
            return None
        files = {
            path: SourceFileState(bytes=size, identity=identity, opened_as=tuple(opened_as))
            for path, size, identity, opened_as in stored.listing["files"]
        }
        listing = SourceListing(digest=stored.listing["digest"], files=files, is_settled=stored.listing["is_settled"])
        self._remember(generation_id, table_id, stored.round, listing)
        return Pin(stored.round, listing)

    async def pin(self, generation_id: UUID, project_id: int, table: SourceRelation) -> Pin:
        """The pin of a table, which is listed now if it has none. Raises InputMissing as the lister does."""
        found = await self.find(generation_id, table.id)
        if found is not None:
            return found
        listing = await self.lister.list(project_id, table)
        async with self.database.begin() as tx:
            copy = await _copy_in(tx, table, listing)
            await source_pins.store(tx, generation_id, table.id, _stored(listing), copy.id if copy else None)
        # Another step may have been faster.
        return await self.find(generation_id, table.id) or Pin(0, listing)

    async def copied(self, generation_id: UUID, table_ids: Collection[UUID]) -> set[UUID]:
        """Those of the tables of which the generation has pinned a copy that it made, or found to be still right."""
        async with self.database.single() as tx:
            stored = [(table_id, await source_pins.load(tx, generation_id, table_id)) for table_id in table_ids]
        return {table_id for table_id, one in stored if one is not None and one.listing.get("is_copied")}

    async def pin_copy(self, tx: Transaction, generation_id: UUID, copy: SourceCopy) -> None:
        """Have a generation read this copy of a table of a database, which the caller holds."""
        stored = _stored(self.lister.listing_of([copy.as_object()])) | {"is_copied": True}
        await source_pins.store_copy(tx, generation_id, copy.source_table_id, stored, copy.id)

    def known(self, generation_id: UUID, table_id: UUID, round_: int) -> Pin | None:
        """A pin that is still in memory."""
        listing = self._known.get((generation_id, table_id, round_))
        return None if listing is None else Pin(round_, listing)

    def _remember(self, generation_id: UUID, table_id: UUID, round_: int, listing: SourceListing) -> None:
        self._known[generation_id, table_id, round_] = listing
        while sum(len(one.files) for one in self._known.values()) > _MOST_FILES:
            self._known.popitem(last=False)


def _stored(listing: SourceListing) -> dict[str, Any]:
    files = [(path, one.bytes, one.identity, one.opened_as) for path, one in listing.files.items()]
    return {"digest": listing.digest, "is_settled": listing.is_settled, "files": files}


async def _copy_in(tx: Transaction, table: SourceRelation, listing: SourceListing) -> SourceCopy | None:
    """The copy that a listing of a table of a database shows. Raises InputReplaced if it was just removed."""
    if not is_database_pattern(table.url_pattern):
        return None
    (file,) = listing.files.values()
    found = await source_copies.of_content(tx, table.id, file.identity.removeprefix(COPY_VERSION), file.bytes)
    if found is None:
        raise InputReplaced(f'The copy of "{table.name}" was removed at this moment.')
    return found


class GenerationPins:
    """The pins of one generation, each read once."""

    def __init__(self, sources: PinnedSources, generation_id: UUID, project_id: int) -> None:
        self._sources = sources
        self._generation_id = generation_id
        self._project_id = project_id
        self._pins: dict[UUID, Pin] = {}
        # Many readers of a table may ask at once, for what is to be done once.
        self._pinning: dict[UUID, asyncio.Lock] = {}
        self._reading: dict[UUID, asyncio.Lock] = {}
        self._digests: dict[tuple[UUID, str], str] = {}

    def recall(self, rounds: Mapping[UUID, int]) -> None:
        """Take the pins of these numbers that are in memory. The others are read, or made, when they are needed."""
        for table_id, round_ in rounds.items():
            pin = self._sources.known(self._generation_id, table_id, round_)
            if pin is not None:
                self._pins[table_id] = pin

    async def of(self, table: SourceRelation) -> Pin:
        """The pin of a table. Raises InputMissing if it has no file that may be read."""
        async with self._pinning.setdefault(table.id, asyncio.Lock()):
            if table.id not in self._pins:
                self._pins[table.id] = await self._sources.pin(self._generation_id, self._project_id, table)
        return self._pins[table.id]

    def digest(self, table_id: UUID) -> str | None:
        """The digest of a table's pinned listing, if it has been read."""
        pin = self._pins.get(table_id)
        return None if pin is None else pin.listing.digest

    async def attach(self, relations: Iterable[Relation]) -> tuple[Relation, ...]:
        """The relations, each source table with its pinned files."""
        attached: list[Relation] = []
        for relation in relations:
            if relation.kind == "source":
                files = tuple(one.opened_as for one in (await self.of(relation)).listing.files.values())
                attached.append(relation.model_copy(update={"files": files}))
            else:
                attached.append(relation)
        return tuple(attached)

    async def digests(self, table: SourceRelation, paths: Collection[str]) -> Mapping[str, str]:
        """The digests of the bytes of these files, as InputFile has them, each read once. Changed files are missing.

        Raises InputMissing if that takes too long.
        """
        pinned = (await self.of(table)).listing
        async with self._reading.setdefault(table.id, asyncio.Lock()):
            unread = [path for path in paths if (table.id, path) not in self._digests]
            if unread:
                found = await self._sources.lister.digests(self._project_id, table, unread)
                # A file that was changed while it was read may have both: bytes of before and the identity of after.
                now = (await self._sources.lister.list(self._project_id, table)).files
                for path, digest in found.items():
                    if path in now and now[path].identity == pinned.files[path].identity:
                        self._digests[table.id, path] = digest
        return {path: self._digests[table.id, path] for path in paths if (table.id, path) in self._digests}

    async def find_moved(self, relations: Iterable[Relation]) -> tuple[SourceRelation, int, str] | None:
        """A table of which a pinned file is not there any more, or was changed: the table, its round, and the file.

        Files that were added since are not looked at. Raises InputMissing if a table has no file any more that may be
        read.
        """
        for relation in relations:
            if relation.kind != "source" or is_database_pattern(relation.url_pattern):  # a copy never changes
                continue
            pin = await self.of(relation)
            now = (await self._sources.lister.list(self._project_id, relation)).files
            for path, file in pin.listing.files.items():
                if path not in now or now[path].identity != file.identity:
                    return relation, pin.round, path
        return None
