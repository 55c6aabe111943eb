"""Readers: each finds the current snapshot of a view, in the catalog or over the API, and reads its files in a loop."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from chaos.catalog import Catalog, Unavailable
from chaos.checked_queries import QueryKind
from chaos.checks.result_files import Finding, Result, Vanished, examine
from chaos.client import VIEWS
from chaos.harness import GRACE_SECONDS, Harness
from chaos.history import History, View

_BULK_SHARE = 0.2


async def read_on(chaos: Harness, number: int) -> None:
    """Read until the task is cancelled, through a connection of this reader's own."""
    random = chaos.history.random(f"reader {number}")
    catalog = Catalog(chaos.stack.info["database_url"])
    try:
        while True:
            await asyncio.sleep(random.uniform(0, 0.06))
            view = random.choice([view for view in chaos.history.views if view.id] or [None])
            if view is None or (view.kinds == (QueryKind.BULK,) and random.random() > _BULK_SHARE):
                continue
            await read(chaos, catalog, view, by_api=random.choice((True, False, False)))
    finally:
        await catalog.close()


async def read(chaos: Harness, catalog: Catalog, view: View, *, by_api: bool) -> str | None:
    """Read a view once; returns the id of the snapshot that was read, or None."""
    began, view_id, way = time.monotonic(), view.id, "API" if by_api else "catalog"
    try:
        result = await (_by_api(chaos, view_id) if by_api else _by_catalog(chaos, catalog, view))
    except Unavailable:
        chaos.history.counts[f"reads/{way} away"] += 1
        return None
    view.readable = result is not None
    if result is None:
        chaos.history.counts[f"reads/{way}, nothing there"] += 1
        return None
    try:
        finding = await asyncio.to_thread(examine, result, chaos.results, chaos.history.promises, view.number)
    except Vanished as error:
        took = time.monotonic() - began
        if took < GRACE_SECONDS:
            message = f"a file of {result.id} was gone {took:.2f} s after it was found to be current: {error}"
            chaos.history.record_violation("read", message, view)
        else:
            chaos.history.counts[f"reads/{way}, too slow"] += 1
        return None
    _judge(chaos.history, view, result, finding)
    chaos.history.counts[f"reads/{way}, good"] += 1
    chaos.history.counts["rows read"] += result.rows
    chaos.history.counts["files read"] += len(result.files)
    return result.id


async def _by_api(chaos: Harness, view_id: str) -> Result | None:
    answer = await chaos.api.call("GET", f"{VIEWS}{view_id}/snapshots/", refusals=("not_found",))
    if answer.unknown:
        raise Unavailable
    current = [version for version in answer.body.get("results", []) if version["is_current"]]
    return result_of(current[0] | {"rows": current[0]["row_count"], "saved_query_id": view_id}) if current else None


async def _by_catalog(chaos: Harness, catalog: Catalog, view: View) -> Result | None:
    pointer = await catalog.pointer(view.id)
    if pointer is None:
        return None
    if pointer.run_status != "Completed" or pointer.run_snapshot_id != str(pointer.snapshot["id"]):
        message = (
            f"{pointer.snapshot['id']} is visible, and its run is {pointer.run_status} ({pointer.run_snapshot_id})"
        )
        chaos.history.record_violation("pointer", message, view)
    return result_of(pointer.snapshot)


def result_of(row: Mapping[str, Any]) -> Result:
    """Convert a snapshot from a row of the catalog or an answer of the API."""
    return Result(
        id=str(row["id"]),
        run_id=str(row["run_id"]),
        saved_query_id=str(row["saved_query_id"]),
        location=row["location"],
        rows=row["rows"],
        files=row["files"],
        inputs=row["inputs"],
    )


def _judge(history: History, view: View, result: Result, finding: Finding) -> None:
    for wrong in finding.wrong:
        history.record_violation("result", f"version {result.id} of run {result.run_id}: {wrong}", view)
    if result.run_id in history.cancelled:
        history.record_violation("result", f"version {result.id} is of run {result.run_id}, which was cancelled", view)
    facts = finding.facts
    stamp = facts.get("stamp_low")
    if history.stamps.setdefault(result.id, stamp) != stamp:
        history.record_violation(
            "result", f"version {result.id} has changed: {history.stamps[result.id]} became {stamp}", view
        )
    for pin in result.inputs if "stamp_a_low" in facts and facts["rows"] else ():
        history.counts["inputs checked"] += 1
        known = history.stamps.get(str(pin["snapshot_id"]))
        if known is not None and pin["name"] == history.views[view.reads or 0].name and known != facts["stamp_a_low"]:
            history.record_violation("result", f"version {result.id} says that it read {pin}, and did not", view)
