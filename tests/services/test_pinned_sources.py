"""The source tables of a generation, which many of its views may ask for at once."""

import asyncio
from typing import Any, cast
from uuid import uuid4

from orchestrator.engines.base import SourceFileState, SourceListing
from orchestrator.model.run import SourceRelation
from orchestrator.model.source_table import SourceFormat
from orchestrator.services.pinned_sources import GenerationPins, Pin, PinnedSources
from tests.services.test_member_plans import TABLE

PATHS = ["a.csv", "b.csv"]
FILES = {path: SourceFileState(bytes=1, identity="1", opened_as=(path, path)) for path in PATHS}
LISTING = SourceListing(files=FILES, digest="d", is_settled=True)


class Slow:
    """Pins tables and reads files, each of which takes a moment, and counts what it does."""

    def __init__(self) -> None:
        self.pinned: list[str] = []
        self.read: list[str] = []
        self.lister = self

    async def pin(self, _generation: object, _project: int, table: SourceRelation) -> Pin:
        self.pinned.append(table.name)
        return Pin(0, await self.list(1, table))

    async def list(self, _project: int, _table: SourceRelation) -> SourceListing:
        await asyncio.sleep(0.01)
        return LISTING

    async def digests(self, _project: int, _table: SourceRelation, paths: Any) -> dict[str, str]:
        self.read += paths
        await asyncio.sleep(0.01)
        return {path: f"digest of {path}" for path in paths}


async def test_views_that_ask_for_one_table_at_once_have_it_pinned_once_and_each_file_read_once() -> None:
    sources = Slow()
    pins = GenerationPins(cast("PinnedSources", sources), uuid4(), 1)
    other = TABLE.model_copy(update={"id": uuid4(), "name": "other", "format": SourceFormat.PARQUET})
    asked = [pins.digests(table, some) for table in (TABLE, other) for some in (PATHS[:1], PATHS, PATHS)]
    found = await asyncio.gather(*asked, pins.of(TABLE), pins.of(other))
    assert sorted(sources.pinned) == ["other", "t"]
    assert sorted(sources.read) == sorted([*PATHS, *PATHS])
    assert found[1] == {path: f"digest of {path}" for path in PATHS}
