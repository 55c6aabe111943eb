"""The error classes of the program: one tree with two branches.

`Terminal` says that trying again cannot help (the request or the data is at fault). `Transient` says that it may (a
server is away, a disk is full). The branch alone decides whether Temporal retries an activity and whether HTTP answers
4xx or 503, so no caller keeps a list of its own. The first line of a leaf's docstring is its default message. Clients
and Temporal's failure types carry the `code`, so it stays when a class is renamed.
"""

from typing import ClassVar, Self

from orchestrator.model.position import Position


class OrchestratorError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(
        self, message: str | None = None, *, attr: str | None = None, position: Position | None = None
    ) -> None:
        """`message` is for the person who asked; `attr` names the field of the request that is wrong, if any.

        `position` is the place in the statement that is wrong, if one is known.
        """
        doc = (type(self).__doc__ or "").strip().splitlines()
        self.message = message or (doc[0] if doc else type(self).__name__)
        self.attr = attr
        self.position = position
        super().__init__(self.message)

    def changed(self, message: str) -> Self:
        """The same error with another message."""
        return type(self)(message, attr=self.attr, position=self.position)

    def placed(self, message: str | None = None) -> Self:
        """The same error with its line and column at the end of the message's first line, for a reader of the text."""
        text = self.message if message is None else message
        if self.position is None:
            return self.changed(text)
        first, *rest = text.split("\n")
        place = f"{first} (line {self.position.line}, column {self.position.column})"
        return self.changed("\n".join([place, *rest]))


class Terminal(OrchestratorError):
    """The request cannot succeed as it stands."""

    code = "terminal"


class Transient(OrchestratorError):
    """A part of the system is out of reach. Try again in a moment."""

    code = "transient"


# --- what a request can get wrong -----------------------------------------------------------------------------------


class Invalid(Terminal):
    """The request is not valid."""

    code = "invalid"


class InvalidName(Invalid):
    """The name is not valid."""

    code = "invalid_name"


class NameTaken(Invalid):
    """A table or view with this name already exists. Choose a different name."""

    code = "name_taken"


class InvalidQuery(Invalid):
    """Invalid query."""

    code = "invalid_query"


class UnstorableText(Invalid):
    """Text cannot hold NUL characters or halves of surrogate pairs."""

    code = "unstorable"


class EditConflict(Invalid):
    """The query was modified by someone else."""

    code = "edit_conflict"


class InvalidSource(Invalid):
    """The files of the source table cannot be read."""

    code = "invalid_source"


class InvalidCheck(Invalid):
    """The check is not valid."""

    code = "invalid_check"


class ChecksFailed(Terminal):
    """The checks of a result failed, so it is not published."""

    code = "checks_failed"


class VersionBlocked(Invalid):
    """The checks of this version keep it from readers. Promote it to publish it all the same."""

    code = "version_blocked"


class ReadersBreak(Invalid):
    """Views that read this would stop binding."""

    code = "readers_break"


class PlanOutdated(Invalid):
    """The project was changed after this plan was made. Plan again."""

    code = "plan_outdated"


class InUse(Invalid):
    """Other views depend on it."""

    code = "in_use"


class UnsupportedInFormat(Invalid):
    """A column has a type that the format cannot hold."""

    code = "unsupported_in_format"


class NotShared(Invalid):
    """The files of this installation cannot be read by its clients. Read the view in another way."""

    code = "not_shared"


class NotMaterialized(Invalid):
    """This view is not materialized. Materialize it first."""

    code = "not_materialized"


class NotRunning(Invalid):
    """The query is not running."""

    code = "not_running"


class TryOutdated(Invalid):
    """The view was edited, refreshed or rolled back since this edit was tried. Try it again."""

    code = "try_outdated"


class TryNotReady(Invalid):
    """The try has no result."""

    code = "try_not_ready"


class TooManyTries(Invalid):
    """There are too many tries. Forget some of them first."""

    code = "too_many_tries"


class RunInProgress(Invalid):
    """A run of the view is in progress. Cancel it, or promote the try before the next one."""

    code = "run_in_progress"


class NotFound(Terminal):
    """Not found."""

    code = "not_found"


class NotAuthenticated(Terminal):
    """Authentication credentials were not provided."""

    code = "not_authenticated"


class PermissionDenied(Terminal):
    """You do not have permission to perform this action."""

    code = "permission_denied"


# --- what a run can end with ----------------------------------------------------------------------------------------


class RunFailed(Terminal):
    """The run failed."""

    code = "run_failed"


class SourceRefused(RunFailed):
    """The database of a source table cannot be read as it was before."""

    code = "source_refused"


class QueryFailed(RunFailed):
    """The query failed."""

    code = "query_failed"


class QueryRefused(RunFailed):
    """The query does something that a view may not do."""

    code = "query_refused"


class QueryTimedOut(RunFailed):
    """The query ran longer than it may."""

    code = "query_timed_out"


class OutOfMemory(RunFailed):
    """The query needs more memory than it may use."""

    code = "out_of_memory"


class OutputTooLarge(RunFailed):
    """The result is larger than it may be."""

    code = "output_too_large"


class InputMissing(RunFailed):
    """Something that the view reads no longer exists."""

    code = "input_missing"


class PlanTooLarge(RunFailed):
    """The view and the views it reads are too large to be run together."""

    code = "plan_too_large"


class QueryCancelled(RunFailed):
    """The query was cancelled."""

    code = "query_cancelled"


class RunSuperseded(RunFailed):
    """The run was ended, or another attempt of it took over, before it could publish."""

    code = "run_superseded"


class FileDamaged(Terminal):
    """A file of this version is damaged."""

    code = "file_damaged"


class WebhookRefused(Terminal):
    """The webhook refuses what it is sent."""

    code = "webhook_refused"


class TableBusy(Transient):
    """Others change this source table at this moment. Try again in a moment."""

    code = "table_busy"


class ChecksChanging(Transient):
    """Other clients keep changing this check. Try again in a moment."""

    code = "checks_changing"


class InputsChanging(Transient):
    """The tables that this view reads keep changing. Try again in a moment."""

    code = "inputs_changing"


class AnalyzerBusy(Transient):
    """The server is busy reading other queries. Try again in a moment."""

    code = "analyzer_busy"


class InputReplaced(Transient):
    """Something that the view reads was replaced at this moment."""

    code = "input_replaced"


class SourceUnavailable(Transient):
    """The server of a source table's files cannot be used right now."""

    code = "source_unavailable"


class WorkerBusy(Transient):
    """Other queries use the memory of the worker. The run waits for its turn."""

    code = "worker_busy"


class EngineCrashed(Transient):
    """The process that ran the query ended unexpectedly."""

    code = "engine_crashed"


class ClusterUnavailable(Transient):
    """The Spark cluster is out of reach. Try again in a moment."""

    code = "cluster_unavailable"


class StoreUnavailable(Transient):
    """The snapshot store cannot be used right now."""

    code = "store_unavailable"


class DiskFull(StoreUnavailable):
    """The disk is full."""

    code = "disk_full"


class CatalogUnavailable(Transient):
    """PostgreSQL is out of reach. Try again in a moment."""

    code = "catalog_unavailable"


class TemporalUnavailable(Transient):
    """Temporal is out of reach. Try again in a moment."""

    code = "temporal_unavailable"


class TemporalBusy(TemporalUnavailable):
    """Temporal is there and has too much to do with this view at the moment. Try again in a moment."""

    code = "temporal_busy"


class WebhookUnavailable(Transient):
    """The webhook does not answer, or asks to be tried again."""

    code = "webhook_unavailable"


class TooManyRequests(Transient):
    """Too many requests of this project, or with this key, are waiting for their turn. Ask again in a moment."""

    code = "too_many_requests"


class StillEnding(Transient):
    """The last run of this view is about to end. Try again in a moment."""

    code = "still_ending"


class StillStopping(Transient):
    """The cancel was sent, but the query has not stopped yet. Ask again in a moment."""

    code = "still_stopping"
