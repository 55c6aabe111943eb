"""Checks that the views of one generation that have the content of the source table have the same content.

A view has it by reading the table itself, or by reading a view of the same generation that has it.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from chaos.catalog import Catalog, Row, Unavailable
from chaos.checked_queries import QueryKind
from chaos.checks.result_files import Vanished, examine
from chaos.client import VIEWS
from chaos.generations import PATH
from chaos.harness import Harness
from chaos.history import View
from chaos.operations import create
from chaos.readers import result_of
from orchestrator.services.change_detection import UNCHANGED

_PAUSE = 0.3
_PATIENCE = 120.0
_REFRESHED = ("Completed", "Skipped")
# The members that have ended of generations that go on with none of these views, each with the version that it
# published, or that it found unchanged.
_MEMBERS = (
    "WITH r AS (SELECT *, bool_or(status = 'Running') OVER (PARTITION BY generation_id) AS goes_on FROM runs "
    "WHERE saved_query_id = ANY(%s::uuid[]) AND NOT generation_id = ANY(%s::uuid[])) "
    "SELECT r.generation_id, r.saved_query_id AS view_id, r.parents, s.* FROM r "
    "JOIN snapshots s ON s.saved_query_id = r.saved_query_id WHERE NOT r.goes_on "
    "AND (r.status = 'Completed' AND s.run_id = r.id OR r.status = 'Skipped' AND r.skipped_reason = %s "
    "AND s.published_at <= r.finished_at AND (s.superseded_at IS NULL OR s.superseded_at > r.finished_at))"
)
# Generations in which one of these views is written, and another one is not.
_BETWEEN_READS = (
    "SELECT r.generation_id FROM runs r JOIN run_plans p ON p.run_id = r.id WHERE r.status = 'Running' "
    "AND r.saved_query_id = ANY(%s::uuid[]) GROUP BY r.generation_id "
    "HAVING bool_or(p.snapshot IS NOT NULL) AND bool_or(p.snapshot IS NULL AND p.unchanged_id IS NULL)"
)
_WRITTEN = (
    "SELECT r.saved_query_id FROM runs r JOIN run_plans p ON p.run_id = r.id "
    "WHERE r.generation_id = %s AND p.snapshot IS NOT NULL"
)
_CHANGES_OF_ONE = 2
_LOOKS = 600
_PINNED_AGAIN = "SELECT generation_id, source_table_id, round FROM source_pins WHERE round > 0"


async def compare_contents(chaos: Harness) -> None:
    """Compare the contents in each generation that has ended, until the task is cancelled."""
    catalog = Catalog(chaos.stack.info["database_url"])
    compared: set[str] = set()
    pinned_again: set[tuple[str, ...]] = set()
    try:
        while True:
            await asyncio.sleep(_PAUSE)
            with suppress(Unavailable):
                for row in await catalog.rows(_PINNED_AGAIN):
                    pinned_again.add(tuple(map(str, row.values())))
                chaos.history.counts["source files/pinned again"] = len(pinned_again)
                views = [view_id for view_id in chaos.history.ids if _view(chaos, view_id).has_content]
                rows = await catalog.rows(_MEMBERS, views, [*compared], UNCHANGED)
                for generation in {str(row["generation_id"]) for row in rows}:
                    compared.add(generation)
                    members = [row for row in rows if str(row["generation_id"]) == generation]
                    await _compare(chaos, generation, members)
    finally:
        await catalog.close()


async def change_between_reads(chaos: Harness) -> None:
    """Change the files between two reads of a generation, until the task is cancelled: twice in each, at most."""
    catalog = Catalog(chaos.stack.info["database_url"])
    random = chaos.history.random("source files between reads")
    changed: Counter[str] = Counter()
    try:
        while True:
            await asyncio.sleep(_PAUSE)
            views = [view.id for view in chaos.history.views if view.has_content and view.id]
            with suppress(Unavailable):
                for row in await catalog.rows(_BETWEEN_READS, views):
                    generation = str(row["generation_id"])
                    changed[generation] += 1
                    if changed[generation] <= _CHANGES_OF_ONE:
                        await chaos.source.change(chaos.history, random, newest=True)
                        chaos.history.counts["source files/changes between two reads"] += 1
    finally:
        await catalog.close()


async def check_last_content(chaos: Harness) -> None:
    """Check that a refresh of these views, which nothing disturbs, gives them the last content of the source table.

    Then also after changes of its files that their sizes and times do not show.
    """
    views = await _materialized(chaos)
    if views:
        await _check_refreshed(chaos, views, "left alone")
        for how in chaos.source.change_quietly():
            await _check_refreshed(chaos, views, how)
        await _check_refreshed(chaos, views, "written in place between two reads", changed_between=True)


async def _check_refreshed(chaos: Harness, views: Sequence[View], how: str, *, changed_between: bool = False) -> None:
    select = {"views": [view.id for view in views], "direction": "none"}
    answer = await chaos.api.call("POST", PATH, {"select": select, "force": changed_between})
    shown: Mapping[str, Any] = answer.body
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            if changed_between and await _is_between_reads(chaos, str(shown["id"]), views):
                chaos.source.overwrite_newest()
                chaos.history.counts["source files/last changes between two reads"] += 1
            while answer.good and shown["status"] == "Running":
                await asyncio.sleep(_PAUSE)
                shown = (await chaos.api.call("GET", f"{PATH}{shown['id']}/")).body
    if shown.get("status") not in _REFRESHED:
        chaos.history.record_violation("source", f"a refresh of its readers that nothing disturbed ({how}) is {shown}")
        return
    for view in views:
        await _check_last(chaos, view, how)


async def _is_between_reads(chaos: Harness, generation: str, views: Sequence[View]) -> bool:
    """Whether the views that read only the table come to be written while one that reads it below others is not."""
    first = {view.id for view in views if QueryKind.FILES in view.kinds}
    for _ in range(_LOOKS):
        written = {str(row["saved_query_id"]) for row in await chaos.catalog.rows(_WRITTEN, generation)}
        if first <= written:
            return len(written) < len(views)
        await asyncio.sleep(_PAUSE / 6)
    return False


async def _check_last(chaos: Harness, view: View, how: str) -> None:
    pointer = await chaos.catalog.pointer(view.id)
    content = None if pointer is None else await _content(chaos, view, pointer.snapshot)
    chaos.history.counts["source files/last contents checked"] += 1
    if content is None or set(content.values()) != {chaos.source.last}:
        message = f"the source table ({how}) has content {chaos.source.last}, and the view has {content}"
        chaos.history.record_violation("source", message, view)


async def _materialized(chaos: Harness) -> list[View]:
    """The views that have the content, all materialized now that can be."""
    found = []
    for view in (view for view in chaos.history.views if view.has_content):
        if not view.live:
            await create(chaos, view, chaos.history.random(f"last creation of {view.name}"))
        await chaos.api.call("POST", f"{VIEWS}{view.id}/materialize/", {"run": False}, refusals=("not_found",))
        shown = await chaos.api.call("GET", f"{VIEWS}{view.id}/", refusals=("not_found",), view=view)
        if shown.good and shown.body["is_materialized"]:
            found.append(view)
    return found


async def _compare(chaos: Harness, generation: str, members: Sequence[Row]) -> None:
    by_view: dict[int, list[Row]] = {}
    for row in members:
        by_view.setdefault(_view(chaos, str(row["view_id"])).number, []).append(row)
    # A view that found nothing changed, and was rolled back a moment later, has several versions that may be meant.
    sure = {number: rows[0] for number, rows in by_view.items() if len(rows) == 1}
    contents: dict[str, int] = {}
    for number in sorted(sure):  # each after those that it reads
        view, row = chaos.history.views[number], sure[number]
        found = await _content(chaos, view, row) or {}
        is_direct, is_through = _reads_table(row), _reads_member(row, chaos, view, contents)
        if is_direct or (is_through and QueryKind.FILES_AND_VIEW not in view.kinds):
            contents |= {view.name: found["content"]} if "content" in found else {}
        reads_no_view = not any(read["snapshot_id"] for read in row["inputs"])
        if (is_through or reads_no_view) and "content_b" in found:
            contents[f"{view.name}, of the view that it reads"] = found["content_b"]
    chaos.history.counts["source files/generations looked at"] += 1
    if len(contents) > 1:
        chaos.history.counts["source files/generations compared"] += 1
    if len(set(contents.values())) > 1:
        message = f"generation {generation} read several contents of the source table: {contents}"
        chaos.history.record_violation("source", message)


def _reads_table(row: Row) -> bool:
    return any(read["kind"] == "source" for read in row["inputs"])


def _reads_member(row: Row, chaos: Harness, view: View, contents: Mapping[str, int]) -> bool:
    """Whether the view that it reads is a member of the generation, and has the content that the generation read."""
    reads = None if view.reads is None else chaos.history.views[view.reads]
    return reads is not None and reads.name in contents and any(str(one) == reads.id for one in row["parents"] or ())


async def _content(chaos: Harness, view: View, row: Row) -> dict[str, int] | None:
    """The content of a version by column; None if it has no rows, or its files are gone."""
    try:
        finding = await asyncio.to_thread(examine, result_of(row), chaos.results, chaos.history.promises, view.number)
    except Vanished:
        chaos.history.counts["source files/results that were gone"] += 1
        return None
    names = ("content", "content_b")
    return {name: finding.facts[f"{name}_low"] for name in names if finding.facts.get(f"{name}_low") is not None}


def _view(chaos: Harness, view_id: str) -> View:
    view = chaos.history.by_id(view_id)
    if view is None:
        raise KeyError(view_id)
    return view
