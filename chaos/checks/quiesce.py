"""The end of a run: after the faults, waits until the installation has recovered, and checks that all of it agrees."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from temporalio.service import RPCError

from chaos.catalog import Catalog, Unavailable
from chaos.checked_queries import NO_RESULT_KINDS, revision_of
from chaos.checks import invariants, leaks
from chaos.client import VIEWS
from chaos.generations import PATH, check_generations
from chaos.harness import GRACE_SECONDS, Harness
from chaos.history import View
from chaos.operations import path_of
from chaos.operators import pause_lost
from chaos.readers import read
from chaos.source_contents import check_last_content

_PATIENCE = 120.0
_PAUSE = 0.5
_PARTS = ("api", "temporal", "postgres")


async def settle(chaos: Harness) -> None:
    """Wait until the stack has recovered, pause all schedules, cancel all runs, and run each view once more.

    Nothing changes the files of the source table any more, so that its readers have to end with what is there.
    """
    history = chaos.history
    await _within(chaos, "the stack did not come back", lambda: _healthy(chaos))
    for view in history.views:
        with suppress(Unavailable):
            lost = await pause_lost(chaos, view)
            if lost:
                history.record_violation("pause", lost, view)
            view.pause = None
    await _within(chaos, "the schedules could not be paused", lambda: _paused(chaos))
    await _within(chaos, "runs did not settle", lambda: _idle(chaos))
    for view in history.views:
        await _check_acknowledged(chaos, view)
    await asyncio.gather(*(_check_runs(chaos, view) for view in history.views if view.live))
    await check_last_content(chaos)


async def conclude(chaos: Harness) -> None:
    """Reconcile, and check that no difference is left and that all parts of the installation agree."""
    await _reconciled(chaos)
    catalog = Catalog(chaos.stack.info["database_url"])
    try:
        for check in (
            invariants.check_runs,
            invariants.check_source_failures,
            check_generations,
            invariants.check_workflows,
            invariants.check_schedules,
            invariants.check_store,
        ):
            await check(chaos, catalog)
        for view in (view for view in chaos.history.views if view.id):
            for by_api in (False, True):
                await read(chaos, catalog, view, by_api=by_api)
        await leaks.check(chaos, catalog)
    except (Unavailable, RPCError) as error:
        chaos.history.record_violation(
            "stack", f"a server ended although the harness left it alone: {error!r} {error.__cause__!r}"
        )
    finally:
        await catalog.close()
    for missing in await chaos.other_installation.missing(chaos.temporal, chaos.results):
        chaos.history.record_violation("foreign", f"what is another installation's was touched: {missing}")


async def _within(chaos: Harness, otherwise: str, done: Callable[[], Awaitable[str]]) -> None:
    """Call `done` until it returns no hindrance; after two minutes, record the violation `otherwise`."""
    began, hindrance = time.monotonic(), ""
    while time.monotonic() - began < _PATIENCE:
        try:
            hindrance = await done()
        except (Unavailable, RPCError) as error:
            hindrance = repr(error)
        if not hindrance:
            chaos.history.counts[f"seconds of waiting/{otherwise}"] = round(time.monotonic() - began)
            return
        await asyncio.sleep(_PAUSE)
    chaos.history.record_violation("ending", f"{otherwise} within {_PATIENCE:.0f} s: {hindrance}")


async def _healthy(chaos: Harness) -> str:
    missing = [part for part in (*_PARTS, *chaos.workers) if chaos.pid(part) is None]
    await chaos.catalog.now()
    await chaos.temporal.count_workflows("")
    answer = await chaos.api.call("GET", VIEWS)
    return f"{missing} {answer.word}" if missing or not answer.good else ""


async def _paused(chaos: Harness) -> str:
    """Set every frequency to `never`, so that no schedule starts a run any more, and no view follows another one."""
    rows = await chaos.catalog.rows(
        "SELECT id, name FROM saved_queries WHERE deleted_at IS NULL AND sync_frequency IS NOT NULL "
        "AND (sync_frequency <> 'never' OR freshness <> 'clock')"
    )
    for row in rows:
        body = {"sync_frequency": "never", "freshness": "clock"}
        await chaos.api.call("PATCH", f"{VIEWS}{row['id']}/", body, refusals=("not_found",))
    return f"{[row['name'] for row in rows]}" if rows else ""


async def _idle(chaos: Harness) -> str:
    """Cancel what is in progress. The reconciler ends the runs that are over and still have the status Running."""
    waiting = await chaos.catalog.rows("SELECT id FROM generations WHERE status = 'Running'")
    for row in waiting:
        await chaos.api.call("POST", f"{PATH}{row['id']}/cancel/", refusals=("not_running", "not_found"))
    rows = await chaos.catalog.rows("SELECT id, saved_query_id, error FROM runs WHERE status = 'Running'")
    for row in rows:
        refusals = ("not_running", "not_found")
        await chaos.api.call("POST", f"{VIEWS}{row['saved_query_id']}/cancel/", refusals=refusals)
    return f"{waiting} {rows}" if waiting or rows else ""


async def _check_acknowledged(chaos: Harness, view: View) -> None:
    """Check the changes that the API confirmed: a view that was saved exists, one that was deleted does not."""
    if view.deletion_uncertain or not view.id:
        return
    answer = await chaos.api.call("GET", path_of(view), refusals=("not_found",), view=view)
    if answer.good != view.live and not answer.unknown:
        chaos.history.record_violation("acknowledged", f"live: {view.live}, and the answer is {answer.word}", view)


async def _check_runs(chaos: Harness, view: View) -> None:
    """Check that a run of a materialized view completes, after all that was done to it; `conclude` reads its result."""
    shown = await chaos.api.call("GET", path_of(view), refusals=("not_found",), view=view)
    if not shown.good or not shown.body["is_materialized"]:
        return
    revision = revision_of(shown.body["query"]["query"])
    fruitless = revision is None or chaos.history.promises[revision].kind in NO_RESULT_KINDS
    if fruitless:
        return
    await chaos.api.call("POST", path_of(view, "run/"), view=view)
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        history = (await chaos.api.call("GET", path_of(view, "run_history/?limit=1"), view=view)).body
        newest = history.get("run_history", [{"status": "Running"}])[0]
        if newest["status"] != "Running":
            break
        await asyncio.sleep(_PAUSE)
    chaos.history.counts[f"last runs/{newest['status']}"] += 1
    if newest["status"] not in {"Completed", "Skipped"}:  # skipped: nothing has changed since the run before
        chaos.history.record_violation("ending", f"its last run, which nothing disturbed, is {newest}", view)


async def _reconciled(chaos: Harness) -> None:
    """Reconcile, up to three times, until a dry run finds nothing of this installation."""
    found: list[str] = []
    for _ in range(3):
        await asyncio.sleep(GRACE_SECONDS + 1)
        await _reconcile(chaos)
        found = [line for line in await _reconcile(chaos, "--dry-run") if not line.startswith("unknown_")]
        if not found:
            return
    chaos.history.record_violation("reconcile", f"a dry run right after reconciling still finds: {found}")


async def _reconcile(chaos: Harness, *options: str) -> list[str]:
    """The lines that `matview reconcile` prints, without the last, which counts them."""
    info = chaos.stack.info
    own = {
        "MATVIEW_DATABASE_URL": info["database_url"],
        "MATVIEW_DATA_DIR": info["data_dir"],
        "MATVIEW_TEMPORAL_ADDRESS": info["temporal_address"],
        "MATVIEW_TEMPORAL_NAMESPACE": info["temporal_namespace"],
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "orchestrator", "reconcile", *options),
        env={**os.environ, **own},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if process.returncode:
        chaos.history.record_violation(
            "reconcile", f"it ended with status {process.returncode}: {errors.decode()[-2000:]}"
        )
    return output.decode().splitlines()[:-1]
