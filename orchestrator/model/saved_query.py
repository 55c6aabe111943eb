"""A saved query: a view as its author saved it, with its desired frequency."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.cron import CronSchedule
from orchestrator.model.engine import QueryText, query_text
from orchestrator.model.freshness import Freshness
from orchestrator.model.principal import User
from orchestrator.model.run import Run, RunStatus
from orchestrator.model.snapshot import Column


class SyncFrequency(StrEnum):
    """How often a materialized view is refreshed. `never` keeps the schedule, paused."""

    MIN_1 = "1min"
    MIN_5 = "5min"
    MIN_15 = "15min"
    MIN_30 = "30min"
    HOUR_1 = "1hour"
    HOUR_6 = "6hour"
    HOUR_12 = "12hour"
    HOUR_24 = "24hour"
    DAY_7 = "7day"
    DAY_30 = "30day"
    NEVER = "never"

    @property
    def interval(self) -> timedelta:
        """The time between two refreshes. `never` has that of the default: its schedule exists, but is paused."""
        return _INTERVALS.get(self, timedelta(hours=24))


_INTERVALS = {
    SyncFrequency.MIN_1: timedelta(minutes=1),
    SyncFrequency.MIN_5: timedelta(minutes=5),
    SyncFrequency.MIN_15: timedelta(minutes=15),
    SyncFrequency.MIN_30: timedelta(minutes=30),
    SyncFrequency.HOUR_1: timedelta(hours=1),
    SyncFrequency.HOUR_6: timedelta(hours=6),
    SyncFrequency.HOUR_12: timedelta(hours=12),
    SyncFrequency.HOUR_24: timedelta(hours=24),
    SyncFrequency.DAY_7: timedelta(days=7),
    SyncFrequency.DAY_30: timedelta(days=30),
}

DEFAULT_FREQUENCY = SyncFrequency.HOUR_24
# PostHog's own build shows these for a view, and neither of the two shorter ones.
_POSTHOG_INTERVALS = {word: span for word, span in _INTERVALS.items() if span >= timedelta(minutes=15)}


class Timing(Value):
    """When a materialized view is refreshed: at a frequency, or at the moments of a cron schedule.

    A cron schedule has a frequency too, the one that comes nearest to the mean time between its moments, or `never`
    while it is paused. Clients read that as `sync_frequency`. It is one of PostHog's words, since a client of PostHog's
    API need not accept another one, and it is not null, since that means to such a client that the view is not
    refreshed.
    """

    frequency: SyncFrequency
    cron: CronSchedule | None = None

    @classmethod
    def of_cron(cls, cron: CronSchedule) -> "Timing":
        """The timing of a cron schedule that is not paused."""
        return cls(frequency=min(_POSTHOG_INTERVALS, key=lambda word: _distance(word, cron)), cron=cron)

    @property
    def longest_gap(self) -> timedelta:
        """The longest time between two refreshes. `never` has that of the default, as its schedule."""
        return self.cron.longest_gap if self.cron else self.frequency.interval


def _distance(frequency: SyncFrequency, cron: CronSchedule) -> float:
    return abs(math.log(frequency.interval / cron.mean_gap))


class ViewStatus(StrEnum):
    """The status of a view, as the API shows it."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    MODIFIED = "Modified"


class Revision(Value):
    """One version of a view's query. `query` is the object as the client sent it, so that it is echoed unchanged.

    `translated` is the statement that the cluster runs, for a view whose engine is one.
    """

    id: UUID
    number: int
    query: dict[str, Any]
    created_at: datetime
    translated: str | None = None

    @property
    def sql(self) -> str:
        """The statement itself."""
        return str(self.query["query"])

    @property
    def text(self) -> QueryText:
        """All of the query that decides the view's result."""
        return query_text(self.query)


class SnapshotSummary(Value):
    """The current snapshot of a view, as the API shows it. Size in bytes."""

    id: UUID
    rows: int
    bytes: int


class SavedQuery(Value):
    """A view as the catalog keeps it, with its newest revision and runs beside it.

    `sync_frequency` None means that the view is not materialized; the view's schedule follows from it and from `cron`,
    which together are its `timing`. `sync_frequency_set_at` distinguishes two settings of the same timing.
    `max_staleness` None: not at all.

    `data_as_of` is the moment for which its result is known to be right: the start of the last run that made it, or
    that found nothing changed.

    `newest_run` is the last one begun, `newest_finished_run` the last one begun that has ended. Both ignore skipped
    runs, and those from before `reverted_at`, when the materialization was last undone. A view that is not materialized
    has neither.

    `column_descriptions` are those of its columns, by the key of the column's name.

    In a list, a view has an empty query, and no descriptions of its columns. One that `is_abridged` has no columns and
    no description either, since they do not fit on the page.
    """

    id: UUID
    project_id: int
    name: str
    description: str | None
    revision: Revision
    columns: tuple[Column, ...]
    sync_frequency: SyncFrequency | None
    sync_frequency_set_at: datetime
    cron: CronSchedule | None = None
    freshness: Freshness = Freshness.CLOCK
    max_staleness: SyncFrequency | None = None
    data_as_of: datetime | None = None
    reverted_at: datetime | None = None
    created_by: User | None
    created_at: datetime
    current_snapshot: SnapshotSummary | None = None
    newest_run: Run | None = None
    newest_finished_run: Run | None = None
    is_abridged: bool = False
    column_descriptions: Mapping[str, str] = {}

    @property
    def is_materialized(self) -> bool:
        """Whether the view has a schedule of its own."""
        return self.sync_frequency is not None

    @property
    def timing(self) -> Timing | None:
        """When the view is refreshed; None if it is not materialized."""
        return None if self.sync_frequency is None else Timing(frequency=self.sync_frequency, cron=self.cron)

    @property
    def status(self) -> ViewStatus | None:
        """The status of the view: computed, never stored, since a stored copy could differ from its runs."""
        return status_of(self.revision, self.newest_run, self.reverted_at)

    @property
    def last_run_at(self) -> datetime | None:
        """When the newest run ended, or started if it still runs."""
        return self.newest_run.timestamp if self.newest_run else None

    @property
    def latest_error(self) -> str | None:
        """The error of the newest run that has ended; a run in progress does not hide it, a success clears it."""
        return self.newest_finished_run.error if self.newest_finished_run else None


def status_of(revision: Revision, newest_run: Run | None, reverted_at: datetime | None) -> ViewStatus | None:
    """The status of a view with the current revision `revision` and the newest run `newest_run`."""
    if newest_run is None:
        edited = revision.number > 1 and (reverted_at is None or revision.created_at > reverted_at)
        return ViewStatus.MODIFIED if edited else None
    if newest_run.status is RunStatus.RUNNING:
        return ViewStatus.RUNNING
    if newest_run.revision_id is not None and newest_run.revision_id != revision.id:
        return ViewStatus.MODIFIED
    return ViewStatus(newest_run.status.value)
