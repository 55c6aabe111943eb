"""The check of source tables: whether they have files now, and which views fail for want of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from orchestrator.catalog import diagnostics
from orchestrator.catalog.database import Database
from orchestrator.doctor.report import Check, CheckResult, Status, ok, some_of, warn
from orchestrator.engines.base import SourceLister
from orchestrator.model.errors import InputMissing, Transient
from orchestrator.model.file_patterns import is_database_pattern
from orchestrator.model.plurals import number_of
from orchestrator.model.run import SourceRelation

# The check takes a few seconds at most; of more tables the newest are looked at.
_MOST_TABLES = 500
_AT_ONCE = 3


class SourceChecks:
    """The check of the files that views read. `roots` are the folders that source tables may read."""

    def __init__(self, database: Database, lister: SourceLister, roots: Sequence[Path]) -> None:
        self._database = database
        self._lister = lister
        self._roots = roots

    def checks(self) -> list[Check]:
        """The checks to run."""
        return [
            Check(
                "sources",
                self._sources,
                "there may be many files, or their file system is slow; nothing was found to be wrong",
                needs=("database", "migrations"),
                severity_on_error=Status.WARN,
            )
        ]

    async def _sources(self) -> CheckResult:
        async with self._database.begin() as tx:
            tables = await diagnostics.list_source_tables(tx, _MOST_TABLES)
            failing = await diagnostics.views_without_input(tx)
        empty = await self._without_files(tables) if self._roots else []
        problems = [
            *([f"of {len(tables)} source tables, {len(empty)} have no files now: {some_of(empty)}"] if empty else []),
            *(
                [f"{number_of(len(failing), 'view')} cannot run for want of files: {some_of(failing)}"]
                if failing
                else []
            ),
        ]
        if problems:
            advice = (
                "put the files back, or change the pattern: `matview table update NAME --pattern`; "
                "`matview view history VIEW` has the error"
            )
            return warn("; ".join(problems), advice)
        if tables and not self._roots:
            return ok(f"source tables: {len(tables)}; their files were not looked at: MATVIEW_SOURCE_ROOTS is not set")
        return ok(f"source tables: {len(tables)}, and every one has files")

    async def _without_files(self, tables: Sequence[tuple[int, SourceRelation]]) -> list[str]:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def is_empty(project_id: int, table: SourceRelation) -> bool:
            if is_database_pattern(table.url_pattern):
                return False  # it is copied when a view that reads it is refreshed
            async with turn:
                try:
                    await self._lister.list(project_id, table)
                except InputMissing:
                    return True
                except Transient:
                    return False
                return False

        found = await asyncio.gather(*(is_empty(*one) for one in tables))
        return [table.name for (_, table), empty in zip(tables, found, strict=True) if empty]
