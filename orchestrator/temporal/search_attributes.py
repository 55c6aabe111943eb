"""What people see of a view in the Temporal UI, beside ids: attributes to filter by, summaries, notes."""

from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from orchestrator.model.base import Value
from orchestrator.model.run import RunStatus, Trigger
from orchestrator.temporal import contract

_PROJECT, _VIEW, _STATUS, _TRIGGER = map(SearchAttributeKey.for_keyword, contract.SEARCH_ATTRIBUTES)

# What ticks have in the place of a status, which is that of their run.
TICK = "Tick"


class ViewRef(Value):
    """A view in words."""

    project_id: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (project {self.project_id})"


def run_attributes(view: ViewRef, trigger: Trigger) -> TypedSearchAttributes:
    """The attributes of a run as it starts."""
    pairs = [SearchAttributePair(_TRIGGER, trigger), SearchAttributePair(_STATUS, RunStatus.RUNNING)]
    return TypedSearchAttributes([*view_attributes(view), *pairs])


def tick_attributes(view: ViewRef) -> TypedSearchAttributes:
    """The attributes of a tick: all that its run will have, so that a namespace which lacks one refuses the schedule.

    A tick could not go on, and would not end, if it were only its run that was refused.
    """
    pairs = [SearchAttributePair(_TRIGGER, Trigger.SCHEDULE), SearchAttributePair(_STATUS, TICK)]
    return TypedSearchAttributes([*view_attributes(view), *pairs])


def view_attributes(view: ViewRef) -> TypedSearchAttributes:
    """The attributes of a view's schedule."""
    project, name = str(view.project_id), view.name
    return TypedSearchAttributes([SearchAttributePair(_PROJECT, project), SearchAttributePair(_VIEW, name)])


def priority(view: ViewRef) -> Priority:
    """Each project gets its turn: where the server is told to be fair, a crowd of one's runs delays no other's."""
    return Priority(fairness_key=str(view.project_id))


def is_unknown_attribute(error: RPCError) -> bool:
    """Whether the server refuses something because the search attributes are not registered in the namespace."""
    return error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message.lower()
