"""The search attributes and the priority that runs, ticks and schedules of a view have in Temporal."""

from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.model.base import Value
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.temporal import contract

_PROJECT, _VIEW, _STATUS, _TRIGGER = map(SearchAttributeKey.for_keyword, contract.SEARCH_ATTRIBUTES)

# The value of a tick's status attribute. Only its run has a status.
TICK = "Tick"


class ViewRef(Value):
    """A view by its project and name, for people."""

    project_id: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (project {self.project_id})"


def run_attributes(view: ViewRef, trigger: Trigger) -> TypedSearchAttributes:
    """The attributes of a run at its start."""
    pairs = [SearchAttributePair(_TRIGGER, trigger), SearchAttributePair(_STATUS, RunStatus.RUNNING)]
    return TypedSearchAttributes([*view_attributes(view), *pairs])


def generation_attributes(project_id: int, trigger: Trigger) -> TypedSearchAttributes:
    """The attributes of a generation of several views at its start. It has no view of its own."""
    pairs = [(_PROJECT, str(project_id)), (_TRIGGER, trigger), (_STATUS, RunStatus.RUNNING)]
    return TypedSearchAttributes([SearchAttributePair(key, str(value)) for key, value in pairs])


def tick_attributes(view: ViewRef) -> TypedSearchAttributes:
    """The attributes of a tick: all that its run will have, so that a namespace which lacks one refuses the schedule.

    If the server refused only the tick's run, the tick could neither continue nor end.
    """
    pairs = [SearchAttributePair(_TRIGGER, Trigger.SCHEDULE), SearchAttributePair(_STATUS, TICK)]
    return TypedSearchAttributes([*view_attributes(view), *pairs])


def view_attributes(view: ViewRef) -> TypedSearchAttributes:
    """The attributes of a view's schedule."""
    project, name = str(view.project_id), view.name
    return TypedSearchAttributes([SearchAttributePair(_PROJECT, project), SearchAttributePair(_VIEW, name)])


def priority(view: ViewRef) -> Priority:
    """The priority of a run of the view."""
    return project_priority(view.project_id)


def project_priority(project_id: int) -> Priority:
    """A fairness key for each project: if the server applies fairness, many runs of one project delay no other's."""
    return Priority(fairness_key=str(project_id))


def is_unknown_attribute(error: RPCError) -> bool:
    """Whether the server refuses a call because the search attributes are not registered in the namespace."""
    return error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message.lower()
