"""The operations that clients send to the API at random, and checks of what its answers promise."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from random import Random

from chaos.catalog import Unavailable
from chaos.checked_queries import QueryKind
from chaos.client import VIEWS, Answer
from chaos.harness import Harness
from chaos.history import View
from chaos.processes import writers

Operation = Callable[[Harness, View, Random], Awaitable[str]]
_FREQUENCIES = ("1min", "1min", "5min", "15min", "1hour", "24hour")
_CRON_SHARE = 0.2
_GONE = ("not_found",)
# Another edit may come first, and an input may be deleted before the API has the query.
_EDITS = ("edit_conflict", "invalid_query", *_GONE)
_MATERIALIZED_AT_ONCE = 0.85
_READS = ("", "run_history/?limit=20", "snapshots/", "activity/", "dependencies/")


def path_of(view: View, rest: str = "") -> str:
    """The path of a view in the API."""
    return f"{VIEWS}{view.id}/{rest}"


def alone(view: View) -> Callable[[], bool]:
    """A function that says whether the caller's is the only operation on the view from now until it is called."""
    was_alone, operation_count = view.in_flight == 1, view.operation_count
    return lambda: was_alone and view.operation_count == operation_count


async def create(chaos: Harness, view: View, random: Random) -> str:
    """Save a view that does not exist, or update it if it exists after all, and mostly materialize it."""
    made = chaos.history.new_query(view, random.choice(view.kinds), random)
    body = {"name": view.name, "query": {"query": made.sql}, "soft_update": True}
    # Another client may delete it at the same moment, before the answer shows it.
    refusals = ("invalid_query", "name_taken", *_GONE)
    answer = await chaos.api.call("POST", VIEWS, body, refusals=refusals, view=view)
    if answer.good:
        chaos.history.born(view, answer.body["id"])
        if random.random() < _MATERIALIZED_AT_ONCE:
            await materialize(chaos, view, random)
    return answer.word


async def edit(chaos: Harness, view: View, random: Random) -> str:
    """Change a view's query, with or without naming the current revision."""
    made = chaos.history.new_query(view, random.choice(view.kinds), random)
    body: dict[str, object] = {"query": {"query": made.sql}}
    if random.choice((True, False)):
        found = await chaos.api.call("GET", path_of(view), refusals=_GONE, view=view)
        body["edited_history_id"] = found.body.get("latest_history_id")
    else:
        body["soft_update"] = True
    return (await chaos.api.call("PATCH", path_of(view), body, refusals=_EDITS, view=view)).word


async def materialize(chaos: Harness, view: View, random: Random) -> str:
    """Materialize a view."""
    body = random.choice((None, {"sync_frequency": random.choice(_FREQUENCIES)}))
    return (await post(chaos, view, "materialize/", body)).word


async def run(chaos: Harness, view: View, random: Random) -> str:
    """Start a run, which mostly runs its query also if nothing has changed."""
    body = random.choice((None, {"full_refresh": True}, {"full_refresh": True}))
    return (await post(chaos, view, "run/", body, "not_materialized")).word


async def cancel(chaos: Harness, view: View, _: Random) -> str:
    """Cancel a run. When the API answers with success, its query must have stopped and its files must be gone."""
    before: set[str] = set()
    with suppress(Unavailable):
        before = await chaos.catalog.running(view.id)
    answer = await post(chaos, view, "cancel/", None, "not_running")
    if answer.good and before:
        with suppress(Unavailable):
            rows = await chaos.catalog.runs([*before])
            ended = {run_id: row["error_code"] for run_id, row in rows.items() if row["status"] == "Cancelled"}
            chaos.history.cancelled.update(ended)
            # A run with a code was ended by another operation at the same moment. The reconciler removes its files.
            await _check_gone(chaos, view, [run_id for run_id, code in ended.items() if code is None])
            if len(before) == 1 and all(row["status"] == "Running" for row in rows.values()):
                chaos.history.record_violation(
                    "cancel", f"answered with success, and the run still is Running: {before}", view
                )
    return answer.word


async def run_and_cancel(chaos: Harness, view: View, random: Random) -> str:
    """Start a run, and cancel it up to three seconds later."""
    await run(chaos, view, random)
    await asyncio.sleep(random.choice((0, random.uniform(0, 0.5), random.uniform(0, 3))))
    return await cancel(chaos, view, random)


async def roll_back(chaos: Harness, view: View, random: Random) -> str:
    """Roll back to another version, and perhaps pause the schedule."""
    pause = random.choice((True, True, False))
    versions = await versions_of(chaos, view)
    if not versions:
        return "nothing to choose"
    chosen = random.choice(versions)
    undisturbed, since = alone(view), None
    with suppress(Unavailable):
        since = await chaos.catalog.now()
    body = {"snapshot_id": chosen, "pause_schedule": pause}
    answer = await post(chaos, view, "rollback/", body, "not_materialized")
    if answer.good and pause and since is not None:
        with suppress(Unavailable):
            await check_rolled_back(chaos, view, chosen, since, undisturbed)
    return answer.word


async def pin(chaos: Harness, view: View, random: Random) -> str:
    """Pin or unpin a version."""
    versions = await versions_of(chaos, view)
    if not versions or view.kinds == (QueryKind.BULK,):  # a small disk cannot hold many of these
        return "nothing to choose"
    body = {"pinned": random.choice((True, False, False))}
    path = path_of(view, f"snapshots/{random.choice(versions)}/")
    return (await chaos.api.call("PATCH", path, body, refusals=_GONE, view=view)).word


async def revert(chaos: Harness, view: View, _: Random) -> str:
    """Revert the materialization of a view."""
    return (await post(chaos, view, "revert_materialization/", None)).word


async def delete(chaos: Harness, view: View, random: Random) -> str:
    """Delete a view, by DELETE or by PATCH."""
    view.deletion_uncertain = True  # until there is an answer: this task may be cancelled before
    if random.choice((True, False)):
        answer = await chaos.api.call("DELETE", path_of(view), refusals=("in_use", *_GONE), view=view)
    else:
        body = {"deleted": True}
        answer = await chaos.api.call("PATCH", path_of(view), body, refusals=("in_use", *_GONE), view=view)
    if answer.good or answer.status == 404:  # noqa: PLR2004 - an earlier request deleted it
        view.live = False
    view.deletion_uncertain = answer.unknown
    return answer.word


async def set_frequency(chaos: Harness, view: View, random: Random) -> str:
    """Change the frequency of a view, set it to `never`, or give it a cron expression."""
    body = {"sync_frequency": random.choice((*_FREQUENCIES, "never"))}
    if random.random() < _CRON_SHARE:
        weekday = random.choice(("*", "MON", "1-5"))
        body = {"cron": f"{random.randrange(60)} 6 * * {weekday}", "time_zone": "Europe/Berlin"}
    return (await chaos.api.call("PATCH", path_of(view), body, refusals=_GONE, view=view)).word


async def resume(chaos: Harness, view: View, _: Random) -> str:
    """Resume a paused schedule."""
    return (await chaos.api.call("POST", f"{VIEWS}resume_schedules/", {"view_ids": [view.id]}, view=view)).word


async def look(chaos: Harness, view: View, random: Random) -> str:
    """Send a request that changes nothing."""
    path = random.choice((VIEWS, *(path_of(view, rest) for rest in _READS)))
    return (await chaos.api.call("GET", path, refusals=_GONE, view=view)).word


async def post(chaos: Harness, view: View, verb: str, body: object, *refusals: str) -> Answer:
    """Send a POST to a view, which may be gone."""
    return await chaos.api.call("POST", path_of(view, verb), body, refusals=(*refusals, *_GONE), view=view)


async def versions_of(chaos: Harness, view: View) -> list[str]:
    """The ids of the versions of a view that it can be rolled back to."""
    listed = await chaos.api.call("GET", path_of(view, "snapshots/"), refusals=_GONE, view=view)
    return [version["id"] for version in listed.body.get("results", [])]


async def _check_gone(chaos: Harness, view: View, run_ids: list[str]) -> None:
    """Check that nothing is left of cancelled runs: no process that writes for one, and no files."""
    if chaos.frozen_lately():
        return  # a frozen worker can neither end its query nor delete its files
    staging = chaos.data / "staging"
    writing = await asyncio.to_thread(lambda: writers(chaos.worker_children(), staging))
    for run_id in run_ids:
        chaos.history.counts["cancels checked"] += 1
        held = [pid for pid, locations in writing.items() if any(run_id in location for location in locations)]
        if held:
            chaos.history.record_violation(
                "cancel", f"run {run_id} was cancelled, and its query goes on in {held}", view
            )
        left = await asyncio.to_thread(_files_of, chaos.data, run_id)
        if left:
            chaos.history.record_violation("cancel", f"run {run_id} was cancelled, and left {left}", view)


def _files_of(data: Path, run_id: str) -> list[str]:
    return [str(path.relative_to(data)) for path in data.glob(f"*/*/*/{run_id}-*")]


async def check_rolled_back(
    chaos: Harness, view: View, chosen: str, since: datetime, undisturbed: Callable[[], bool]
) -> None:
    """Check that a rollback with a pause has ended the runs before it, and that none of them can become visible.

    `since` is a moment before the rollback took place. Raises Unavailable.
    """
    select = "SELECT id, status FROM runs WHERE saved_query_id = %s AND started_at < %s"
    rows = await chaos.catalog.rows(select, view.id, since)
    pointer = await chaos.catalog.pointer(view.id)
    chaos.history.counts["rollbacks checked"] += 1
    for row in rows:
        if row["status"] == "Running":
            chaos.history.record_violation("rollback", f"run {row['id']} goes on although it was to be ended", view)
    chaos.history.cancelled.update(str(row["id"]) for row in rows if row["status"] == "Cancelled")
    old = pointer is not None and any(row["id"] == pointer.snapshot["run_id"] for row in rows)
    shown = None if pointer is None else str(pointer.snapshot["id"])
    if old and shown != chosen and undisturbed():
        chaos.history.record_violation(
            "rollback", f"{chosen} was chosen, and {shown} of a run before it is visible", view
        )
