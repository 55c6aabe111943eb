"""Refreshes of several views as one: the operations of clients, and readers that look at several views at once."""

import asyncio
from contextlib import suppress
from random import Random

from chaos.catalog import Catalog, Unavailable
from chaos.client import VIEWS
from chaos.harness import Harness
from chaos.history import View

PATH = "/generations/"
_MOST_VIEWS = 4
_MOST_AT_ONCE = 5
_DIRECTIONS = ("none", "upstream", "downstream", "both")
_PUBLISH = ("what_succeeded", "what_succeeded", "all_or_nothing")
_FRESHNESS = ("clock", "upstream", "follow")
# A moment at which a reader of both views would see one from before a refresh, and the other one from after it.
_HALF_PUBLISHED = (
    "SELECT child.generation_id, child.id AS child, child.status AS child_status, parent.id AS parent, "
    "parent.status AS parent_status, child.saved_query_id FROM runs child JOIN runs parent "
    "ON parent.generation_id = child.generation_id AND parent.saved_query_id = ANY(child.parents) "
    "WHERE (child.status = 'Completed') <> (parent.status = 'Completed') "
    "AND 'Running' IN (child.status, parent.status)"
)
# A visible version that was made from a version that was never visible.
_FROM_UNPUBLISHED = (
    "SELECT v.id AS saved_query_id, s.id AS version, read ->> 'name' AS name, read ->> 'snapshot_id' AS made_from "
    "FROM saved_queries v JOIN snapshots s ON s.id = v.current_snapshot_id "
    "CROSS JOIN jsonb_array_elements(s.inputs) AS read "
    "JOIN saved_queries w ON w.id = (read ->> 'id')::uuid JOIN runs r ON r.id = s.run_id "
    # One that was reverted or deleted in between is not published, and what was made from it is.
    "WHERE read ->> 'snapshot_id' IS NOT NULL AND (w.reverted_at IS NULL OR w.reverted_at < r.started_at) "
    "AND NOT EXISTS (SELECT FROM snapshots p WHERE p.id = (read ->> 'snapshot_id')::uuid)"
)


async def refresh(chaos: Harness, view: View, random: Random) -> str:
    """Refresh the view with others as one generation."""
    listed = await chaos.api.call("GET", f"{PATH}?status=Running", view=view)
    if listed.body.get("count", 0) > _MOST_AT_ONCE:  # some of their queries never end, and the others wait for them
        return await cancel(chaos, view, random)
    others = [other.id for other in chaos.history.views if other.live and other.id and other is not view]
    chosen = [view.id, *random.sample(others, min(len(others), random.randrange(_MOST_VIEWS)))]
    some: dict[str, object] = {"views": chosen, "direction": random.choice(_DIRECTIONS)}
    select = random.choice((some, some, some, some, {"all": True}))
    body = {"select": select, "force": random.choice((True, False)), "publish": random.choice(_PUBLISH)}
    refusals = ("not_found", "not_materialized")
    return (await chaos.api.call("POST", PATH, body, refusals=refusals, view=view)).word


async def refresh_readers(chaos: Harness, _: View, random: Random) -> str:
    """Refresh some of the views that have the content of the source table as one generation."""
    views = [view for view in chaos.history.views if view.has_content and view.live and view.id]
    if len(views) < 2:  # noqa: PLR2004 - one has nothing to be compared with
        return "nothing to choose"
    chosen = random.sample(views, random.randrange(2, len(views) + 1))
    body = {
        "select": {"views": [view.id for view in chosen], "direction": random.choice(_DIRECTIONS)},
        "force": random.choice((True, False)),
        "publish": random.choice(_PUBLISH),
    }
    refusals = ("not_found", "not_materialized")
    return (await chaos.api.call("POST", PATH, body, refusals=refusals, view=chosen[0])).word


async def cancel(chaos: Harness, view: View, random: Random) -> str:
    """Cancel a generation in progress. After that, none of its runs goes on."""
    listed = await chaos.api.call("GET", f"{PATH}?status=Running", view=view)
    running = [one["id"] for one in listed.body.get("results", []) if one["view_count"] != 1]
    if not running:
        return "nothing to choose"
    generation = random.choice(running)
    answer = await chaos.api.call("POST", f"{PATH}{generation}/cancel/", refusals=("not_running",), view=view)
    if answer.good:
        with suppress(Unavailable):
            rows = await chaos.catalog.rows("SELECT id, status FROM runs WHERE generation_id = %s", generation)
            chaos.history.counts["generations' cancels checked"] += 1
            chaos.history.cancelled.update(str(row["id"]) for row in rows if row["status"] == "Cancelled")
            going_on = [str(row["id"]) for row in rows if row["status"] == "Running"]
            if going_on:
                message = f"generation {generation} was cancelled, and {going_on} go on"
                chaos.history.record_violation("cancel", message, view)
    return answer.word


async def set_freshness(chaos: Harness, view: View, random: Random) -> str:
    """Change with which views a view is refreshed."""
    body = {"freshness": random.choice(_FRESHNESS), "max_staleness": random.choice((None, "1min", "1hour"))}
    return (await chaos.api.call("PATCH", f"{VIEWS}{view.id}/", body, refusals=("not_found",), view=view)).word


async def look_for_mixes(chaos: Harness) -> None:
    """Look at all views at once, again and again, for refreshes of which only a part is visible."""
    catalog = Catalog(chaos.stack.info["database_url"])
    try:
        while True:
            await asyncio.sleep(0.01)
            with suppress(Unavailable):
                for row in await catalog.rows(_HALF_PUBLISHED):
                    view = chaos.history.by_id(str(row["saved_query_id"]))
                    chaos.history.record_violation("mix", f"only a part of a generation is visible: {row}", view)
                for row in await catalog.rows(_FROM_UNPUBLISHED):
                    view = chaos.history.by_id(str(row["saved_query_id"]))
                    chaos.history.record_violation("mix", f"it was made from what is not published: {row}", view)
                chaos.history.counts["looks for mixes"] += 1
    finally:
        await catalog.close()


async def check_generations(chaos: Harness, catalog: Catalog) -> None:
    """Check at the end that every generation has ended, in the way that its runs have."""
    rows = await catalog.rows(
        "SELECT g.id, g.status, array_agg(DISTINCT r.status) AS runs, count(r.id) AS members FROM generations g "
        "LEFT JOIN runs r ON r.generation_id = g.id GROUP BY g.id"
    )
    for row in rows:
        several = ", several views" if row["members"] > 1 else ""
        chaos.history.counts[f"generations/{row['status']}{several}"] += 1
        runs = {status for status in row["runs"] if status}
        if row["status"] == "Running" or not _fits(row["status"], runs):
            chaos.history.record_violation("generation", f"it is {row['status']}, and its runs are {runs}: {row['id']}")


def _fits(status: str, runs: set[str]) -> bool:
    lost = bool(runs & {"Failed", "Cancelled"})
    return {
        "Completed": "Completed" in runs and not lost,
        "Partial": "Completed" in runs and lost,
        # One of a single view has no run if a larger one took hold of the view as it began.
        "Skipped": runs <= {"Skipped"},
        "Failed": "Completed" not in runs and "Failed" in runs,
        "Cancelled": "Completed" not in runs and "Failed" not in runs,
    }[status]
