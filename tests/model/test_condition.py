"""The condition of a view, from its runs, its schedule and its inputs."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from orchestrator.model.condition import Condition, InputState, ScheduleGlance, ViewCondition, span
from orchestrator.model.freshness import Freshness
from orchestrator.model.run import Run, RunStatus, Trigger
from orchestrator.model.saved_query import Revision, SavedQuery, SnapshotSummary, SyncFrequency

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
REVISION = Revision(id=uuid4(), number=1, query={"query": "SELECT 1"}, created_at=NOW - timedelta(days=9))
OTHER = uuid4()


def a_run(status: RunStatus, error: str | None = None) -> Run:
    return Run(
        id=uuid4(),
        saved_query_id=uuid4(),
        workflow_id="w",
        workflow_run_id=uuid4(),
        status=status,
        trigger=Trigger.SCHEDULE,
        started_at=NOW - timedelta(hours=1),
        finished_at=None if status is RunStatus.RUNNING else NOW,
        revision_id=REVISION.id,
        error=error,
    )


def a_view(**given: object) -> SavedQuery:
    good = a_run(RunStatus.COMPLETED)
    usual = {
        "id": uuid4(),
        "project_id": 1,
        "name": "v",
        "description": None,
        "revision": REVISION,
        "columns": (),
        "sync_frequency": SyncFrequency.HOUR_1,
        "sync_frequency_set_at": NOW,
        "data_as_of": NOW - timedelta(minutes=30),
        "created_by": None,
        "created_at": NOW,
        "current_snapshot": SnapshotSummary(id=uuid4(), rows=1, bytes=1),
        "newest_run": good,
        "newest_finished_run": good,
    }
    return SavedQuery.model_validate(usual | given)


PAUSED = ScheduleGlance(paused=True, reason="by ada@example.com")
BY_POLICY = ScheduleGlance(paused=True, reason="Paused by the failure policy: no", by_policy=True)
FAILING = InputState(id=OTHER, name="orders", error="no luck")
NEWER = InputState(id=OTHER, name="orders", is_newer=True)
FAILED = {"newest_run": a_run(RunStatus.FAILED, "no"), "newest_finished_run": a_run(RunStatus.FAILED, "no")}
NOTHING = {"current_snapshot": None, "data_as_of": None}
OLD = {"data_as_of": NOW - timedelta(hours=3)}


@pytest.mark.parametrize(
    ("found", "condition", "is_ok"),
    [
        (ViewCondition(view=a_view()), Condition.FRESH, True),
        (ViewCondition(view=a_view(sync_frequency=None, **NOTHING)), Condition.PLAIN, True),
        (ViewCondition(view=a_view(newest_run=a_run(RunStatus.RUNNING))), Condition.RUNNING, True),
        (ViewCondition(view=a_view(**FAILED)), Condition.FAILED, False),
        (ViewCondition(view=a_view(**FAILED), schedule=BY_POLICY), Condition.FAILED, False),
        (
            ViewCondition(view=a_view(newest_run=None, newest_finished_run=None, **NOTHING)),
            Condition.NEVER_RUN,
            True,
        ),
        (ViewCondition(view=a_view(**OLD), schedule=PAUSED), Condition.PAUSED, True),
        (ViewCondition(view=a_view(sync_frequency=SyncFrequency.NEVER, **OLD)), Condition.PAUSED, True),
        (ViewCondition(view=a_view(), schedule=BY_POLICY), Condition.PAUSED, False),
        (ViewCondition(view=a_view(newest_run=a_run(RunStatus.CANCELLED))), Condition.CANCELLED, True),
        (ViewCondition(view=a_view(**OLD)), Condition.STALE, False),
        (ViewCondition(view=a_view(), inputs=(FAILING,)), Condition.STALE, False),
        (ViewCondition(view=a_view(), inputs=(NEWER,)), Condition.STALE, False),
        # A paused view is held back on purpose, but an input that fails is still said.
        (ViewCondition(view=a_view(), inputs=(NEWER,), schedule=PAUSED), Condition.PAUSED, True),
        (ViewCondition(view=a_view(), inputs=(FAILING,), schedule=PAUSED), Condition.PAUSED, False),
    ],
)
def test_the_condition_is_the_first_that_holds(found: ViewCondition, condition: Condition, is_ok: bool) -> None:
    assert (found.condition(NOW), found.is_ok(NOW)) == (condition, is_ok)


def test_a_follower_without_a_clock_is_not_paused_and_any_age_is_right() -> None:
    follower = a_view(sync_frequency=SyncFrequency.NEVER, freshness=Freshness.FOLLOW, **OLD)
    assert ViewCondition(view=follower).condition(NOW) is Condition.FRESH
    assert ViewCondition(view=follower, inputs=(NEWER,)).condition(NOW) is Condition.STALE


@pytest.mark.parametrize(("hours", "is_late"), [(1.9, False), (2.1, True)])
def test_data_is_stale_after_two_intervals_as_in_the_metrics(hours: float, is_late: bool) -> None:
    found = ViewCondition(view=a_view(data_as_of=NOW - timedelta(hours=hours)))
    assert bool(found.stale_reasons(NOW)) is is_late


def test_the_reasons_are_sentences_that_name_age_and_inputs() -> None:
    found = ViewCondition(view=a_view(**OLD), inputs=(FAILING, NEWER))
    assert found.stale_reasons(NOW) == [
        "its data is 3 hours old, and it is refreshed every 1hour",
        "orders, which it reads, failed: no luck",
        "orders, which it reads, is newer",
    ]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(seconds=-3), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=61), "1 minute"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=49), "2 days"),
    ],
)
def test_a_length_is_shown_in_its_largest_unit(length: timedelta, words: str) -> None:
    assert span(length) == words
