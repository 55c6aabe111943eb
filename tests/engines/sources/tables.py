"""Source tables of a test: described once, and then read as often as their files change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model.errors import QueryFailed
from orchestrator.model.run import SourceRelation
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import ReadOptions, SourceFormat
from tests.engines.conftest import ID, Result, Run, WholeEngine
from tests.engines.sources.test_discovery import pairs


class Table:
    """A source table of one test: described once, and then read as often as its files change."""

    def __init__(self, engine: WholeEngine, run: Run, pattern: str, kind: SourceFormat) -> None:
        self._engine, self._run, self._pattern, self._kind = engine, run, pattern, kind
        self._options = ReadOptions()
        self._stated: tuple[Column, ...] = ()
        self.columns: tuple[Column, ...] = ()

    async def add(self, stated: Mapping[str, str] | None = None, **options: Any) -> list[tuple[str, str]]:
        """Register the files. Returns the columns that they have now."""
        self._options = ReadOptions(**options)
        self._stated = tuple(Column(name=name, duckdb_type=kind) for name, kind in (stated or {}).items())
        self.columns = await self._engine.analyzer.describe_source(
            self._pattern, self._kind, self._options, self._stated
        )
        return pairs(self.columns)

    async def read(self, sql: str = "SELECT * FROM t") -> Result:
        relation = SourceRelation(
            name="t",
            id=ID,
            format=self._kind,
            url_pattern=self._pattern,
            columns=self.columns,
            options=self._options,
            stated=tuple(column.name for column in self._stated),
        )
        return await self._run(sql, [relation])

    async def rows(self, what: str = "*") -> list[tuple[Any, ...]]:
        return sorted((await self.read()).rows(what), key=str)

    async def failure(self) -> str:
        with pytest.raises(QueryFailed) as raised:
            await self.read()
        return raised.value.message


class Tables:
    """Makes tables over files of one folder."""

    def __init__(self, engine: WholeEngine, run: Run, data: Path) -> None:
        self._engine, self._run, self.data = engine, run, data

    def over(self, name: str, kind: SourceFormat) -> Table:
        return Table(self._engine, self._run, f"{self.data}/{name}", kind)

    def write(self, name: str, text: str) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        return path
