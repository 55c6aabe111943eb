"""The inputs of a statement that a client runs: fixed as of one moment of the catalog, and kept until it has ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.catalog import names, run_inputs
from orchestrator.catalog.database import Database, Transaction, as_of_one_moment
from orchestrator.model.errors import InputsChanging, InvalidQuery
from orchestrator.model.information_schema import COLUMNS, SCHEMATA, CatalogEntry, rows_of
from orchestrator.model.names import catalog_table, name_key
from orchestrator.model.reading import ReadRelation, RowsRelation
from orchestrator.model.run import Relation
from orchestrator.services.reads import Read, ReadRegistry
from orchestrator.services.unknown_names import UnknownName

# A snapshot that is removed between the reading of the catalog and the lease is a rare coincidence.
_TRIES = 5
_MOST_LISTED_COLUMNS = 200_000


@dataclass(frozen=True)
class ReadInputs:
    """Pins what reads of any project name."""

    database: Database
    registry: ReadRegistry

    async def pin(self, read: Read, references: Sequence[str]) -> tuple[ReadRelation, ...]:
        """The inputs of a statement that reads these names, all as of one moment, and kept until the read ends.

        Raises UnknownName, InvalidQuery if the project has too many columns for the information schema, or
        InputsChanging.
        """
        own = [name for name in references if catalog_table(name) is None]
        if self.registry.can_wait(read) and len(own) == len(references):
            return await self._pin_current(read, own)
        for _ in range(_TRIES):
            async with self.database.begin() as tx:
                if len(own) < len(references):
                    await as_of_one_moment(tx)
                found: tuple[Relation, ...] = await run_inputs.named(tx, read.project_id, own) if own else ()
                _check_names(own, found)
                kept = [one.snapshot_id for one in found if one.kind == "snapshot"]
                is_leased = await self.registry.lease(tx, read, kept)
                shown = await _catalog_tables(tx, read.project_id, references) if is_leased else ()
            if is_leased:
                if kept or read.client_query_id:
                    self.registry.recorded(read)
                return found + shown
        raise InputsChanging

    async def _pin_current(self, read: Read, names_read: Sequence[str]) -> tuple[ReadRelation, ...]:
        """The same for views and tables alone, in one statement and without a lease at once."""
        if not names_read:
            return ()
        async with self.database.single() as tx:
            found = await run_inputs.named(tx, read.project_id, names_read)
        _check_names(names_read, found)
        self.registry.defer(read, [one.snapshot_id for one in found if one.kind == "snapshot"])
        return found


def _check_names(references: Sequence[str], found: Sequence[Relation]) -> None:
    known = {name_key(one.name) for one in found}
    unknown = next((name for name in references if name_key(name) not in known), None)
    if unknown is not None:
        raise UnknownName(unknown)


async def _catalog_tables(tx: Transaction, project_id: int, references: Sequence[str]) -> tuple[RowsRelation, ...]:
    tables = sorted({table for name in references if (table := catalog_table(name))})
    if not tables:
        return ()
    entries = await names.entries(tx, project_id) if tables != [SCHEMATA] else []
    columns = sum(len(entry.columns) for entry in entries)
    if columns > _MOST_LISTED_COLUMNS:
        raise InvalidQuery(
            f"The views and tables of this project have {columns:,} columns, and the information schema shows "
            f"{_MOST_LISTED_COLUMNS:,} at most. Use the lists of the API.",
            attr="query",
        )
    return await asyncio.to_thread(_rows_relations, tables, entries)


def _rows_relations(tables: Sequence[str], entries: Sequence[CatalogEntry]) -> tuple[RowsRelation, ...]:
    return tuple(RowsRelation(name=table, columns=COLUMNS[table], rows=rows_of(table, entries)) for table in tables)
