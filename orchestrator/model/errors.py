"""Every error the program knows by name: one tree with two branches.

`Terminal` says that trying again cannot help (the request or the data is at fault); `Transient` that it may (a server
is away, a disk is full). The branch alone decides whether Temporal retries an activity and whether HTTP answers 4xx or
503, so no caller keeps a list of its own. The first line of a leaf's docstring is its default message, and `code` is a
wire format: clients and Temporal's failure types carry it.
"""

import re
from typing import ClassVar


class OrchestratorError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None, *, attr: str | None = None) -> None:
        """`message` is for the person who asked; `attr` names the offending field of the request, if one is."""
        doc = (type(self).__doc__ or "").strip().splitlines()
        self.message = message or (doc[0] if doc else type(self).__name__)
        self.attr = attr
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


class Terminal(OrchestratorError):
    """The request cannot succeed as it stands."""


class Transient(OrchestratorError):
    """A part of the system is out of reach. Try again in a moment."""


# --- what a request can get wrong -----------------------------------------------------------------------------------


class Invalid(Terminal):
    """The request is not valid."""


class InvalidName(Invalid):
    """The name is not valid."""


class NameTaken(Invalid):
    """A table or view with this name already exists. Choose a different name."""


class InvalidQuery(Invalid):
    """Invalid query."""


class Unstorable(Invalid):
    """Text cannot hold NUL characters or halves of surrogate pairs."""


class EditConflict(Invalid):
    """The query was modified by someone else."""


class InvalidSource(Invalid):
    """The files of the source table cannot be read."""


class InUse(Invalid):
    """Other views depend on it."""


class NotMaterialized(Invalid):
    """This view is not materialized. Materialize it first."""


class NotRunning(Invalid):
    """The query is not running."""


class NotFound(Terminal):
    """Not found."""


class NotAuthenticated(Terminal):
    """Authentication credentials were not provided."""


class PermissionDenied(Terminal):
    """You do not have permission to perform this action."""


# --- what a run can end with ----------------------------------------------------------------------------------------


class RunFailed(Terminal):
    """The run failed."""


class QueryFailed(RunFailed):
    """The query failed."""


class QueryRefused(RunFailed):
    """The query does something that a view may not do."""


class QueryTimedOut(RunFailed):
    """The query ran longer than it may."""


class OutOfMemory(RunFailed):
    """The query needs more memory than it may use."""


class OutputTooLarge(RunFailed):
    """The result is larger than it may be."""


class InputMissing(RunFailed):
    """Something that the view reads no longer exists."""


class PlanTooLarge(RunFailed):
    """The view and the views it reads are too large to be run together."""


class RunSuperseded(RunFailed):
    """The run was ended, or another attempt of it took over, before it could publish."""


class FileDamaged(Terminal):
    """A file of this version is damaged."""


class WebhookRefused(Terminal):
    """The webhook refuses what it is sent."""


class TableBusy(Transient):
    """Others change this source table at this moment. Try again in a moment."""


class InputReplaced(Transient):
    """Something that the view reads was replaced at this moment."""


class WorkerBusy(Transient):
    """Other queries use the memory of the worker. The run waits for its turn."""


class EngineCrashed(Transient):
    """The process that ran the query ended unexpectedly."""


class StoreUnavailable(Transient):
    """The snapshot store cannot be used right now."""


class DiskFull(StoreUnavailable):
    """The disk is full."""


class CatalogUnavailable(Transient):
    """PostgreSQL is out of reach. Try again in a moment."""


class TemporalUnavailable(Transient):
    """Temporal is out of reach. Try again in a moment."""


class TemporalBusy(TemporalUnavailable):
    """Temporal is there and has too much to do with this view at the moment. Try again in a moment."""


class WebhookUnavailable(Transient):
    """The webhook does not answer, or asks to be tried again."""


class TooManyRequests(Transient):
    """Too many requests of this project, or with this key, are waiting for their turn. Ask again in a moment."""


class StillEnding(Transient):
    """The last run of this view is about to end. Try again in a moment."""


class StillStopping(Transient):
    """The cancel was sent, but the query has not stopped yet. Ask again in a moment."""
