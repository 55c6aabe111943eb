"""The names that Temporal stores: a wire format, not an implementation detail.

If no worker registered a schedule's workflow type, the schedule would fire without a run and without an error. A
workflow id of another shape would let two runs of one view overlap. A test compares the classes with these names.
"""

from uuid import UUID

TASK_QUEUE = "matview"
# A queue of its own: queries that take hours could otherwise occupy every activity slot.
RECONCILER_QUEUE = "matview-upkeep"
# A queue of its own: a webhook that hangs must not occupy an activity slot in which a query could run.
NOTICE_QUEUE = "matview-notices"

MATERIALIZE = "MaterializeSavedQuery"
SCHEDULED_TICK = "ScheduledTick"
RECONCILE = "Reconcile"
DELIVER_NOTICE_WORKFLOW = "DeliverNotice"

BEGIN_RUN = "begin_run"
WRITE_SNAPSHOT = "write_snapshot"
PUBLISH = "publish"
SKIP_RUN = "skip_run"
CLOSE_RUN = "close_run"
RECONCILE_ALL = "reconcile"

# The failure type of a run that failed for an unforeseen reason. Errors of every other type say what is wrong.
UNEXPECTED_ERROR = "lost"

# The update by which the activity reports a query's progress to the run's workflow.
PROGRESS = "progress"

# Search attributes for filters in the Temporal UI, all of type Keyword. Only people use them: everything works without
# them, as in a namespace that forbids their registration.
PROJECT_ATTRIBUTE = "MatviewProject"
VIEW_ATTRIBUTE = "MatviewView"
STATUS_ATTRIBUTE = "MatviewStatus"
TRIGGER_ATTRIBUTE = "MatviewTrigger"
SEARCH_ATTRIBUTES = (PROJECT_ATTRIBUTE, VIEW_ATTRIBUTE, STATUS_ATTRIBUTE, TRIGGER_ATTRIBUTE)

# The id of the reconciler's schedule, and of the reconciler's workflow that each worker starts at its own start.
RECONCILE_ID = "matview/reconcile"
DELIVER_NOTICE = "deliver_notice"


def run_workflow_id(saved_query_id: UUID) -> str:
    """The workflow id of every run of a view. The server admits one open workflow of an id, hence one run of a view."""
    return f"materialize/{saved_query_id}"


def schedule_id(saved_query_id: UUID) -> str:
    """The id of a view's schedule. It follows from the view's id, so a repeated creation cannot make a second one."""
    return f"materialize/{saved_query_id}"


def parse_view_id(workflow_or_schedule_id: str) -> UUID | None:
    """The id of the view whose run or schedule has this id; None if the id is not of that form."""
    prefix, _, rest = workflow_or_schedule_id.partition("/")
    try:
        view = UUID(rest)
    except ValueError:
        return None
    return view if prefix == "materialize" and run_workflow_id(view) == workflow_or_schedule_id else None


def tick_workflow_id(saved_query_id: UUID, project_id: int, name: str) -> str:
    """The workflow id of a view's ticks. The server appends the time of each, so a schedule cannot start a run itself.

    Nothing depends on this id, so it can name the view.
    """
    return f"tick/project-{project_id}/{name}/{saved_query_id}"


def notice_workflow_id(run_id: UUID, event: str) -> str:
    """The workflow id of a webhook delivery. It follows from run and event, so that no event is delivered twice."""
    return f"notify/{run_id}/{event}"
