"""The names that live in Temporal's own storage: a wire format, not an implementation detail.

A schedule that points at a workflow type nobody registers fires silently for ever, and a workflow id of another shape
would let two runs of one view overlap. So they stand here once; a test holds the classes against them.
"""

from uuid import UUID

TASK_QUEUE = "matview"
# Apart, or queries that take hours could hold every place that an activity may have.
RECONCILER_QUEUE = "matview-upkeep"
# A webhook that hangs must not hold a place in which a query could run.
NOTICE_QUEUE = "matview-notices"

MATERIALIZE = "MaterializeSavedQuery"
SCHEDULED_TICK = "ScheduledTick"
RECONCILE = "Reconcile"
DELIVER_NOTICE_WORKFLOW = "DeliverNotice"

BEGIN_RUN = "begin_run"
WRITE_SNAPSHOT = "write_snapshot"
PUBLISH = "publish"
CLOSE_RUN = "close_run"
RECONCILE_ALL = "reconcile"

# The type of a run's failure that nobody foresaw; every other type is given to an error that says what is wrong.
UNEXPECTED_ERROR = "lost"

# The update by which a running query tells its workflow how far it is.
PROGRESS = "progress"

# What the Temporal UI can be filtered by; all of type Keyword. They are for people: everything works without them, as
# in a namespace where nobody may register any.
PROJECT_ATTRIBUTE = "MatviewProject"
VIEW_ATTRIBUTE = "MatviewView"
STATUS_ATTRIBUTE = "MatviewStatus"
TRIGGER_ATTRIBUTE = "MatviewTrigger"
SEARCH_ATTRIBUTES = (PROJECT_ATTRIBUTE, VIEW_ATTRIBUTE, STATUS_ATTRIBUTE, TRIGGER_ATTRIBUTE)

# The reconciler's schedule, and the workflow that a worker starts when it starts.
RECONCILE_ID = "matview/reconcile"
DELIVER_NOTICE = "deliver_notice"


def run_workflow_id(saved_query_id: UUID) -> str:
    """The workflow id of every run of a view: the server admits one open workflow of an id, hence one run a view."""
    return f"materialize/{saved_query_id}"


def schedule_id(saved_query_id: UUID) -> str:
    """The schedule of a view. Made from its id, so that asking twice can never make two."""
    return f"materialize/{saved_query_id}"


def parse_view_id(workflow_or_schedule_id: str) -> UUID | None:
    """The view whose run or schedule has this id; None if it is somebody else's."""
    prefix, _, rest = workflow_or_schedule_id.partition("/")
    try:
        view = UUID(rest)
    except ValueError:
        return None
    return view if prefix == "materialize" and run_workflow_id(view) == workflow_or_schedule_id else None


def tick_workflow_id(saved_query_id: UUID, project_id: int, name: str) -> str:
    """What a schedule starts. The server appends the time of the tick, which is why a run is not started directly.

    Nothing depends on this id, so it can say which view it is about.
    """
    return f"tick/project-{project_id}/{name}/{saved_query_id}"


def notice_workflow_id(run_id: UUID, event: str) -> str:
    """The delivery of what is told of a run. Made from both, so that nothing is told twice."""
    return f"notify/{run_id}/{event}"
