"""The checks of Temporal and the workers, and of whether Temporal and the store match the catalog."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from orchestrator.catalog import saved_queries
from orchestrator.catalog.database import Database
from orchestrator.doctor.report import CLOCK_WARNING, Check, CheckResult, Status, fail, ok, some_of, warn
from orchestrator.model.base import now
from orchestrator.model.findings import FindingKind, ReconcileRequest
from orchestrator.reconciliation.reconciler import Reconciler
from orchestrator.settings import PREFIX, Settings
from orchestrator.temporal import contract
from orchestrator.temporal.diagnostics import Poller, ServerInfo

_LEAST_RETENTION = timedelta(days=7)
# The server answers a poll after a minute at the latest, and the worker then polls again at once.
_POLLS_WITHIN = timedelta(seconds=75)
# Findings that the reconciler also reports in a healthy installation.
_ORDINARY = {
    FindingKind.VERSION_EXPIRED,
    FindingKind.TRY_EXPIRED,
    FindingKind.FILES_ORPHANED,
    FindingKind.UNKNOWN_SCHEDULE,
    FindingKind.UNKNOWN_FILES,
}


class TemporalChecks:
    """The checks of Temporal, the workers and the reconciler."""

    def __init__(self, settings: Settings, server: ServerInfo, database: Database, reconciler: Reconciler) -> None:
        self._settings = settings
        self._server = server
        self._database = database
        self._reconciler = reconciler

    def checks(self) -> list[Check]:
        """The checks to run."""
        reach = (
            f"start the server at {self._server.address}, or check {PREFIX}TEMPORAL_ADDRESS "
            "and Temporal's own TEMPORAL_* variables"
        )
        name = self._server.namespace_name
        make = (
            f"make it (`temporal operator namespace create -n {name} --retention 30d`), "
            f"or check {PREFIX}TEMPORAL_NAMESPACE"
        )
        look = "look at the Temporal server's log"
        lives = ("temporal", "namespace")
        return [
            Check("temporal", self._answers, reach),
            Check("namespace", self._namespace, make, needs=("temporal",)),
            Check("cancels", self._cancels, look, needs=lives),
            Check("search attributes", self._attributes, look, needs=lives, severity_on_error=Status.WARN),
            Check("workers", self._workers, look, needs=lives),
            Check("reconciler", self._reconciler_schedule, look, needs=lives),
            Check(
                "agreement",
                self._agreement,
                "see what `matview reconcile --dry-run` says, which may take as long as it needs",
                needs=(*lives, "database", "migrations", "store"),
                severity_on_error=Status.WARN,
            ),
        ]

    async def _answers(self) -> CheckResult:
        return ok(f"the server at {self._server.address} is Temporal {await self._server.version()}")

    async def _namespace(self) -> CheckResult:
        namespace = await self._server.namespace()
        message = f"{namespace.name} keeps the history of what has ended for {_days(namespace.retention)}"
        if namespace.retention < _LEAST_RETENTION:
            advice = (
                "keep it for a week or more, or operators do not find last week's failures: "
                f"`temporal operator namespace update -n {namespace.name} --retention 30d`"
            )
            return warn(message, advice)
        return ok(message)

    async def _cancels(self) -> CheckResult:
        namespace = await self._server.namespace()
        if namespace.pushes_commands:
            return ok(
                "frontend.WorkerCommandsEnabled is set; the server does not say whether "
                "system.enableCancelActivityWorkerCommand is, without which cancels take up to a second longer"
            )
        return warn(
            "the server does not push cancels: a query hears of one at its next heartbeat, up to a second later",
            "set frontend.WorkerCommandsEnabled and system.enableCancelActivityWorkerCommand in the server's "
            "dynamic configuration",
        )

    async def _attributes(self) -> CheckResult:
        missing = await self._server.missing_attributes()
        if not missing:
            return ok(f"the Temporal UI can be filtered by {', '.join(contract.SEARCH_ATTRIBUTES)}")
        # The command needs a type for each name, or it takes one name only.
        names = " ".join(f"--name {name} --type Keyword" for name in missing)
        return warn(
            f"{', '.join(missing)} cannot be filtered by in the Temporal UI; if they were there once and were removed, "
            "schedules that were created after that start nothing",
            "start a worker, which registers them, or do it by hand: `temporal operator search-attribute create "
            f"-n {self._server.namespace_name} {names}`",
        )

    async def _workers(self) -> CheckResult:
        desired = [
            (contract.TASK_QUEUE, "workflow"),
            (contract.TASK_QUEUE, "activity"),
            (contract.RECONCILER_QUEUE, "activity"),
        ]
        if self._settings.webhook_url is not None:
            desired.append((contract.NOTICE_QUEUE, "activity"))
        polled = {f"{queue} ({kind})": await self._server.pollers(queue, kind) for queue, kind in desired}
        idle = [name for name, pollers in polled.items() if not _alive(pollers)]
        if idle:
            last = _seconds_since(poller for name in idle for poller in polled[name])
            seen = "" if last is None else f"; the last poll was {last:.0f} seconds ago"
            advice = "start one with the same settings: `matview worker`"
            return fail(f"no worker polls for the tasks of {', '.join(idle)}{seen}", advice)
        workers = [poller for pollers in polled.values() for poller in _alive(pollers)]
        names, last = sorted({poller.identity for poller in workers}), _seconds_since(workers) or 0
        message = f"{len(names)} ({some_of(names)}), last seen {max(last, 0):.0f} seconds ago"
        if last < -CLOCK_WARNING.total_seconds():
            message = f"{message}; Temporal's clock is {-last:.1f} seconds ahead of this machine's"
            return warn(message, "let NTP or chrony set the clocks of all machines")
        return ok(message)

    async def _reconciler_schedule(self) -> CheckResult:
        schedule = await self._server.reconciler_schedule()
        if schedule is None:
            return fail(
                f"there is no schedule {contract.RECONCILE_ID}: what a dead process leaves is not repaired",
                "start a worker, which makes it",
            )
        if schedule.paused:
            message = f"its schedule is paused ({schedule.note or 'without a reason'})"
            return warn(message, f"unpause {contract.RECONCILE_ID} when the reason for that is over")
        last = schedule.last_run_at
        return ok(f"its schedule last ran at {last:%Y-%m-%d %H:%M:%S} UTC" if last else "its schedule is yet to run")

    async def _agreement(self) -> CheckResult:
        async with self._database.begin() as tx:
            desired = len(await saved_queries.list_desired_schedules(tx))
        report = await self._reconciler.reconcile(ReconcileRequest(dry_run=True), apply_policy=False)
        kinds = Counter(finding.kind for finding in report.findings)
        found = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(kinds.items())) or "nothing"
        message = f"desired schedules: {desired}; to be repaired or reported: {found}"
        if kinds.keys() - _ORDINARY:
            every = f"{self._settings.reconcile_seconds:g} seconds"
            return warn(message, f"the reconciler repairs it, every {every}; or run `matview reconcile`")
        return ok(message)


def _alive(pollers: Sequence[Poller]) -> list[Poller]:
    since = now() - _POLLS_WITHIN
    return [poller for poller in pollers if not poller.stopped and poller.last_access > since]


def _seconds_since(pollers: Iterable[Poller]) -> float | None:
    """Seconds since the latest poll; negative if Temporal's clock is ahead, None if there are no pollers."""
    last = max((poller.last_access for poller in pollers), default=None)
    return None if last is None else (now() - last).total_seconds()


def _days(span: timedelta) -> str:
    days = span / timedelta(days=1)
    return f"{days:g} day{'' if days == 1 else 's'}"
