"""Checks at the end that runs, workflows, schedules and files agree with the catalog and with one another."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any

from temporalio.client import ScheduleListDescription

from chaos.catalog import Catalog, Row
from chaos.checked_queries import SOURCE_TABLE
from chaos.checks.result_files import Vanished, examine
from chaos.harness import Harness
from chaos.readers import result_of
from orchestrator.model.cron import CronSchedule
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.schedule import DesiredSchedule
from orchestrator.temporal.schedule_times import desired_times, times_of

# The program records the end of a run that an operator terminated when it notices, or ends the run for another reason.
# That may be after the next run began. Temporal's own times are checked below, without exceptions.
_FOUND_OUT_LATER = {"terminated", "ended_outside", "run_lost", "timed_out", "rolled_back", "reverted", "deleted"}


async def check_runs(chaos: Harness, catalog: Catalog) -> None:
    """Check that every run has ended, and that no two of one view were in progress at the same time."""
    rows = await catalog.rows("SELECT * FROM runs ORDER BY saved_query_id, started_at")
    for row in rows:
        chaos.history.counts[f"runs/{row['status']}{', ' + row['error_code'] if row['error_code'] else ''}"] += 1
        chaos.history.counts[f"runs by trigger/{row['trigger']}"] += 1
        if row["attempt"] > 1:
            chaos.history.counts["runs with several attempts"] += 1
        if row["finished_at"] is not None and row["finished_at"] < row["started_at"]:
            view = chaos.history.by_id(str(row["saved_query_id"]))
            chaos.history.record_violation("times", f"it ended before it began: {row}", view)
        if row["status"] == "Running":
            chaos.history.record_violation(
                "run", f"it is Running for ever: {row}", chaos.history.by_id(str(row["saved_query_id"]))
            )
    # A member that was cancelled while its generation waited has a row that was never open: it ended when it began.
    opened = [row for row in rows if row["finished_at"] != row["started_at"]]
    for earlier, later in pairwise(opened):
        if earlier["saved_query_id"] == later["saved_query_id"] and _overlap(earlier, later):
            view = chaos.history.by_id(str(later["saved_query_id"]))
            chaos.history.record_violation("run", f"two runs at the same time: {earlier} and {later}", view)


# The failures that the source table may cause, and those that the faults may, with a part of their text.
_OF_THE_SOURCE = {"source_moved", "input_missing"}
_OF_FAULTS = {
    "query_failed": "The process that ran the query ended unexpectedly",
    "disk_full": "",
    # After eight attempts over a network that fails; none of these ends on a disk.
    "store_unavailable": "object store",
}


async def check_source_failures(chaos: Harness, catalog: Catalog) -> None:
    """Check that each failed run of a view of the source table failed for a reason that it may fail for, and says so.

    A failure because of the source table names the table, and the file that changed.
    """
    rows = await catalog.rows("SELECT id, saved_query_id, error, error_code FROM runs WHERE status = 'Failed'")
    for row in rows:
        view = chaos.history.by_id(str(row["saved_query_id"]))
        if view is None or not view.has_content:
            continue
        code, error = row["error_code"], row["error"] or ""
        chaos.history.counts[f"failures of the source's readers/{code}"] += 1
        is_named = SOURCE_TABLE in error and (code == "input_missing" or str(chaos.source.folder) in error)
        is_of_a_fault = code in _OF_FAULTS and _OF_FAULTS[code] in error
        if not is_of_a_fault and not (code in _OF_THE_SOURCE and is_named):
            chaos.history.record_violation("failure", f"run {row['id']} failed with {code}: {error}", view)


# Temporal stamps a start with the time of the request. It may write the start only after the close of the workflow
# before, so that the two seem to overlap.
_STAMPED_WITHIN = timedelta(seconds=1)


async def check_workflows(chaos: Harness, _: Catalog) -> None:
    """Check that no workflow of this installation is open, and that no two of one view overlapped."""
    spans: dict[str, list[tuple[Any, Any]]] = {}
    async for workflow in chaos.temporal.list_workflows("WorkflowType = 'RefreshViews'"):
        if workflow.id in chaos.other_installation.workflows:
            continue
        if workflow.close_time is None:
            chaos.history.record_violation("workflow", f"{workflow.id} {workflow.run_id} is open although no run is")
            continue
        spans.setdefault(workflow.id, []).append((workflow.start_time, workflow.close_time))
    for workflow_id, found in spans.items():
        chaos.history.counts["workflows"] += len(found)
        for (_, ended), (began, _) in pairwise(sorted(found)):
            if began < ended - _STAMPED_WITHIN:
                chaos.history.record_violation("workflow", f"{workflow_id}: one began at {began}, before {ended}")
    async for workflow in chaos.temporal.list_workflows(
        "WorkflowType = 'ScheduledTick' AND ExecutionStatus = 'Running'"
    ):
        chaos.history.record_violation("workflow", f"the tick {workflow.id} is open although no run is")


async def check_schedules(chaos: Harness, catalog: Catalog) -> None:
    """Check that each materialized view has a schedule with its times, and that no other view has one."""
    views = await catalog.rows("SELECT id, deleted_at, sync_frequency, cron, time_zone FROM saved_queries")
    listed: dict[str, ScheduleListDescription] = {}
    async for entry in await chaos.temporal.list_schedules():
        listed[entry.id] = entry
    for view in views:
        name = f"materialize/{view['id']}"
        wanted = None if view["deleted_at"] is not None else view["sync_frequency"]
        if (wanted is not None) != (name in listed):
            message = f"{name} is wanted: {wanted}; and it exists: {name in listed}"
            chaos.history.record_violation("schedule", message, chaos.history.by_id(str(view["id"])))
        elif wanted is not None:
            await _check_schedule(chaos, name, view)


async def check_store(chaos: Harness, catalog: Catalog) -> None:
    """Check that every snapshot that is kept is whole, and that the store holds nothing else."""
    rows = await catalog.rows("SELECT * FROM snapshots WHERE removed_at IS NULL")
    kept = {row["location"] for row in rows}
    chaos.history.counts["versions at the end"] = len(rows)
    for row in rows:
        await _check_version(chaos, row)
    for place in sorted(await asyncio.to_thread(chaos.results.places)):
        if chaos.other_installation.owns(place):
            continue
        root, _, location = place.partition("/")
        if root == "staging" or location not in kept:
            chaos.history.record_violation("store", f"{place} is needed by no snapshot and no run")


async def _check_schedule(chaos: Harness, name: str, view: Row) -> None:
    schedule = (await chaos.temporal.get_schedule_handle(name).describe()).schedule
    wanted = SyncFrequency(view["sync_frequency"])
    cron = None if view["cron"] is None else CronSchedule(expression=view["cron"], time_zone=view["time_zone"])
    desired = DesiredSchedule(saved_query_id=view["id"], project_id=0, name=name, frequency=wanted, cron=cron)
    if times_of(schedule.spec) != desired_times(desired) or (desired.never and not schedule.state.paused):
        message = f"{name} should be {wanted}, {desired.times}, and is {times_of(schedule.spec)}"
        chaos.history.record_violation("schedule", f"{message}, paused: {schedule.state.paused}")


async def _check_version(chaos: Harness, row: Row) -> None:
    view = chaos.history.by_id(str(row["saved_query_id"]))
    if view is None:
        chaos.history.record_violation("store", f"a version without a view: {row}")
        return
    try:
        finding = await asyncio.to_thread(examine, result_of(row), chaos.results, chaos.history.promises, view.number)
    except Vanished as error:
        chaos.history.record_violation("store", f"a file of a version that is kept is gone: {error}", view)
        return
    for wrong in finding.wrong:
        chaos.history.record_violation("store", f"version {row['id']}: {wrong}", view)


def _overlap(earlier: Row, later: Row) -> bool:
    if earlier["finished_at"] is None or earlier["error_code"] in _FOUND_OUT_LATER:
        return False
    return bool(earlier["finished_at"] > later["started_at"])
