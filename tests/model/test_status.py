"""A view's status, computed from its newest run."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.model.run import Run, RunStatus, Trigger, run_id_of
from orchestrator.model.saved_query import Revision, SavedQuery, SyncFrequency, ViewStatus, status_of
from orchestrator.model.snapshot import location_of, snapshot_id
from tests.support import factories
from tests.support.factories import START

FIRST = Revision(id=uuid4(), number=1, query={"query": "select 1"}, created_at=START)
SECOND = Revision(id=uuid4(), number=2, query={"query": "select 2"}, created_at=START)


def a_run(status: RunStatus, revision: Revision | None = FIRST, **more: Any) -> Run:
    return factories.a_run(status, revision_id=revision.id if revision else None, trigger=Trigger.API, **more)


def a_view(**more: Any) -> SavedQuery:
    return SavedQuery(
        id=uuid4(),
        project_id=1,
        name="v",
        description=None,
        revision=FIRST,
        columns=(),
        sync_frequency=SyncFrequency.HOUR_24,
        sync_frequency_set_at=START,
        created_by=None,
        created_at=START,
        **more,
    )


@pytest.mark.parametrize(
    ("revision", "run", "status"),
    [
        (FIRST, None, None),
        (SECOND, None, ViewStatus.MODIFIED),
        (FIRST, a_run(RunStatus.RUNNING), ViewStatus.RUNNING),
        (SECOND, a_run(RunStatus.RUNNING), ViewStatus.RUNNING),
        (FIRST, a_run(RunStatus.COMPLETED), ViewStatus.COMPLETED),
        (SECOND, a_run(RunStatus.COMPLETED), ViewStatus.MODIFIED),
        (FIRST, a_run(RunStatus.FAILED), ViewStatus.FAILED),
        (SECOND, a_run(RunStatus.FAILED), ViewStatus.MODIFIED),
        (FIRST, a_run(RunStatus.FAILED, revision=None), ViewStatus.FAILED),
        (FIRST, a_run(RunStatus.CANCELLED), ViewStatus.CANCELLED),
    ],
)
def test_a_views_status_follows_its_newest_run(revision: Revision, run: Run | None, status: ViewStatus | None) -> None:
    assert status_of(revision, run, None) is status


def test_a_view_whose_materialization_was_undone_has_no_status_until_it_is_edited() -> None:
    assert status_of(SECOND, None, START + timedelta(seconds=1)) is None
    assert status_of(SECOND, None, START - timedelta(seconds=1)) is ViewStatus.MODIFIED


def test_a_run_in_progress_does_not_hide_the_last_error_and_a_success_clears_it() -> None:
    failed = a_run(RunStatus.FAILED, error="division")
    assert a_view(newest_run=a_run(RunStatus.RUNNING), newest_finished_run=failed).latest_error == "division"
    done = a_run(RunStatus.COMPLETED)
    assert a_view(newest_run=done, newest_finished_run=done).latest_error is None


def test_the_last_run_was_when_it_ended_or_began_if_it_still_runs() -> None:
    assert a_view(newest_run=a_run(RunStatus.COMPLETED)).last_run_at == START + timedelta(seconds=20)
    assert a_view(newest_run=a_run(RunStatus.RUNNING)).last_run_at == START
    assert a_view().last_run_at is None


def test_ids_of_runs_and_snapshots_are_derived_so_telling_twice_is_one() -> None:
    workflow_run, view = UUID(int=1), UUID(int=2)
    assert run_id_of(workflow_run, view) == run_id_of(workflow_run, view)
    assert run_id_of(workflow_run, view) != run_id_of(workflow_run, UUID(int=3))
    run = run_id_of(workflow_run, view)
    assert snapshot_id(run, 1) == snapshot_id(run, 1) != snapshot_id(run, 2)
    assert location_of(1, view, run, 1) != location_of(1, view, run, 2)


def test_every_frequency_but_never_has_an_interval_of_its_own() -> None:
    intervals = [frequency.interval for frequency in SyncFrequency if frequency is not SyncFrequency.NEVER]
    assert len(set(intervals)) == len(intervals) == 10
    assert SyncFrequency.HOUR_24.interval == timedelta(days=1)
