"""Metrics of a whole installation, read from PostgreSQL and Temporal at a scrape and cached for some seconds.

Only the API serves them: every worker would report the same.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import TimeoutError as ResultTimeoutError

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.catalog import stats
from orchestrator.catalog.database import Database
from orchestrator.catalog.stats import InstallationStats
from orchestrator.model.base import Value
from orchestrator.model.errors import OrchestratorError
from orchestrator.temporal.counts import ScheduleCounts, count_schedules

logger = logging.getLogger(__name__)

# PostgreSQL and Temporal are queried no more often than this, however many scrapes there are.
CACHE_SECONDS = 15.0
# Less than Prometheus's own scrape timeout, which is ten seconds by default.
_LONGEST_SECONDS = 5.0
# Shorter than that: a Temporal server that does not answer must not make the catalog look down.
_TEMPORAL_SECONDS = 2.0


class InstallationState(Value):
    """The state of an installation. A part is None if its server did not answer."""

    figures: InstallationStats | None
    schedules: ScheduleCounts | None


def make_probe(database: Database, client: Client, limit: int) -> Callable[[], Awaitable[InstallationState]]:
    """A function that queries PostgreSQL and Temporal; its result names at most `limit` views."""

    async def ask_catalog() -> InstallationStats | None:
        try:
            async with database.begin() as tx:
                return await stats.load_stats(tx, limit)
        except OrchestratorError as error:
            logger.warning("the catalog does not answer its statistics: %s", error.message)
            return None

    async def ask_temporal() -> ScheduleCounts | None:
        try:
            async with asyncio.timeout(_TEMPORAL_SECONDS):
                return await count_schedules(client)
        except TimeoutError:
            reason = f"it took longer than {_TEMPORAL_SECONDS:g} s"
        except (OrchestratorError, RPCError) as error:
            reason = error.message
        logger.warning("Temporal does not answer how many schedules there are: %s", reason)
        return None

    async def ask() -> InstallationState:
        figures, counted = await asyncio.gather(ask_catalog(), ask_temporal())
        return InstallationState(figures=figures, schedules=counted)

    return ask


class InstallationCollector(Collector):
    """Gauges made from the result of `ask`, which runs in the event loop that this object was created in."""

    def __init__(self, ask: Callable[[], Awaitable[InstallationState]], cache_seconds: float = CACHE_SECONDS) -> None:
        self._ask = ask
        self._cache_seconds = cache_seconds
        self._loop = asyncio.get_running_loop()
        self._asking = threading.Lock()
        self._asked_at: float | None = None
        self._known = InstallationState(figures=None, schedules=None)

    def collect(self) -> Iterator[Metric]:
        """The gauges. The metrics server calls this in a thread of its own."""
        known = self._current()
        up = "Whether the catalog could be asked: 1 or 0"
        yield GaugeMetricFamily("matview_catalog_up", up, value=float(known.figures is not None))
        if known.figures is not None:
            yield from _of_catalog(known.figures)
        if known.schedules is not None:
            present = "Schedules of views that Temporal has"
            yield GaugeMetricFamily("matview_schedules_present", present, value=known.schedules.present)
            paused = "Schedules of views that are paused"
            yield GaugeMetricFamily("matview_schedules_paused", paused, value=known.schedules.paused)

    def _current(self) -> InstallationState:
        # A scrape that comes during another one waits for its result: before the first, there is none to serve.
        with self._asking:
            if self._asked_at is None or time.monotonic() - self._asked_at >= self._cache_seconds:
                self._asked_at = time.monotonic()
                self._known = self._asked()
            return self._known

    def _asked(self) -> InstallationState:
        asking = asyncio.run_coroutine_threadsafe(_awaited(self._ask), self._loop)
        try:
            return asking.result(_LONGEST_SECONDS)
        except ResultTimeoutError:
            asking.cancel()
            logger.warning("the figures of the installation took longer than %g s", _LONGEST_SECONDS)
        except Exception:
            logger.exception("the statistics of the installation cannot be collected")
        return InstallationState(figures=None, schedules=None)


async def _awaited(ask: Callable[[], Awaitable[InstallationState]]) -> InstallationState:
    return await ask()


def _of_catalog(figures: InstallationStats) -> Iterator[Metric]:
    single = {
        "matview_views": ("Views that are not deleted", figures.views),
        "matview_schedules_wanted": (
            "Views that are materialized, and so should have a schedule",
            figures.materialized,
        ),
        "matview_views_stale": ("Views whose data is older than two of their intervals", figures.stale),
        "matview_view_data_age_max_seconds": ("The age of the oldest data of a view", figures.oldest_seconds),
        "matview_runs_in_progress": ("Runs that have begun and not ended", figures.running),
        "matview_run_in_progress_max_seconds": (
            "For how long the oldest of them has been running",
            figures.longest_run_seconds,
        ),
    }
    for name, (meaning, value) in single.items():
        yield GaugeMetricFamily(name, meaning, value=value)
    ages = GaugeMetricFamily(
        "matview_view_data_age_seconds",
        "The age of the data of those views that are the most overdue",
        labels=["project", "view", "name"],
    )
    for age in figures.most_overdue:
        ages.add_metric([str(age.project_id), str(age.saved_query_id), age.name], age.seconds)
    yield ages
