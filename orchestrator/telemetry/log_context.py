"""The ids that each log line carries, such as those of its view and run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from logging import LogRecord
from uuid import UUID

from orchestrator.model.run import run_id_of
from orchestrator.temporal import contract

_NOTHING: Mapping[str, str] = {}
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=_NOTHING)

# Temporal knows only a view's id. A view never changes its project, so a cached one stays right.
_project_of: dict[UUID, int] = {}
_MOST_PROJECTS = 10_000


def bind_log_fields(fields: Mapping[str, str]) -> None:
    """Add these fields to every line that this task logs from now on.

    For a task that does nothing else: unlike with `bound_log_fields`, the lines about its failure carry them too.
    """
    _about.set({**_about.get(), **fields})


@contextmanager
def bound_log_fields(fields: Mapping[str, str]) -> Iterator[None]:
    """Add these fields to every line logged within the context, by this task and by those that it starts."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def remember_project(saved_query_id: UUID, project_id: int) -> None:
    """Remember the project of a view, so that log lines name it where only the view is known."""
    if len(_project_of) >= _MOST_PROJECTS:
        _project_of.clear()
    _project_of[saved_query_id] = project_id


def log_fields(record: LogRecord) -> dict[str, str]:
    """The ids that a line carries: those that were bound, and those that Temporal's SDK attached to the record."""
    attached = getattr(record, "temporal_activity", None) or getattr(record, "temporal_workflow", None) or {}
    return {**ids_from_sdk(attached), **_about.get()}


def ids_from_sdk(step: Mapping[str, object]) -> dict[str, str]:
    """The ids in the SDK's info on a workflow or an activity, and those that follow from them."""
    workflow_id, workflow_run_id = step.get("workflow_id"), step.get("workflow_run_id") or step.get("run_id")
    named = {
        "workflow": workflow_id,
        "workflow_run": workflow_run_id,
        "activity": step.get("activity_type"),
        "attempt": step.get("attempt") if "activity_type" in step else None,
    }
    found = {name: str(value) for name, value in named.items() if value is not None}
    view = contract.parse_view_id(str(workflow_id))
    if view is not None:
        found |= _ids_of_view(view)
        if workflow_run_id:
            found["run"] = str(run_id_of(UUID(str(workflow_run_id)), view))
    return found


def _ids_of_view(view: UUID) -> dict[str, str]:
    project = _project_of.get(view)
    return {"view": str(view)} if project is None else {"project": str(project), "view": str(view)}
