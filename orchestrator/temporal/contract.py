"""The names that Temporal stores: a wire format, not an implementation detail.

If no worker registered a schedule's workflow type, the schedule would fire without a run and without an error. A
workflow id of another shape would let two runs of one view overlap. A test compares the classes with these names.
"""

from datetime import timedelta
from uuid import UUID

# A workflow task of a generation lasts no longer, unless its worker was killed: so long the generation waits for
# another worker then. A task in which steps on the catalog take longer is prolonged by its worker. Temporal's default
# is ten seconds.
GENERATION_TASK_TIMEOUT = timedelta(seconds=5)

TASK_QUEUE = "matview"
# A queue of its own: queries that take hours could otherwise occupy every activity slot.
RECONCILER_QUEUE = "matview-upkeep"
# A queue of its own: a webhook that hangs must not occupy an activity slot in which a query could run.
NOTICE_QUEUE = "matview-notices"

REFRESH = "RefreshViews"
SCHEDULED_TICK = "ScheduledTick"
RECONCILE = "Reconcile"
DELIVER_NOTICE_WORKFLOW = "DeliverNotice"
TRY_EDIT = "TryEdit"

BEGIN = "begin"
WRITE_SNAPSHOT = "write_snapshot"
WRITE_SNAPSHOTS = "write_snapshots"
CHECK_TABLE = "check_table"
COPY_TABLES = "copy_tables"
REPIN = "repin"
PUBLISH = "publish"
CLOSE = "close"
SUMMARIZE = "summarize"
GATHER = "gather"
TICK_OUTCOME = "tick_outcome"
LEAVE = "leave_generation"
RELEASE_TICKS = "release_ticks"
BEGIN_TRY = "begin_try"
WRITE_TRY = "write_try"
REPIN_TRY = "repin_try"
CLOSE_TRY = "close_try"
RECONCILE_ALL = "reconcile"

# The failure type of a run that failed for an unforeseen reason. Errors of every other type say what is wrong.
UNEXPECTED_ERROR = "lost"

# The failure type of a step that found a source file other than it was pinned, with the table, its pin and the file.
SOURCE_MOVED = "source_moved"

# The update by which the activity reports a query's progress to the workflow, and the one that cancels one member.
PROGRESS = "progress"
# The update by which an activity reports those of its members that have ended, or that it gives back.
MEMBERS_ENDED = "members_ended"
CANCEL_MEMBER = "cancel_member"
# The signal that asks for the same without an answer. The server stores it; an update that no worker has taken may be
# lost.
STOP_MEMBER = "stop_member"
# The signal with which a tick hears how its view has ended in the generation that it follows.
ENDED = "ended"

_SEVERAL = "refresh/"

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
    """The workflow id of every generation of this view alone. The server admits one open workflow of an id."""
    return f"materialize/{saved_query_id}"


def generation_workflow_id(project_id: int, generation_id: UUID) -> str:
    """The workflow id of a generation of several views. It follows from its id, so none is started twice."""
    return f"{_SEVERAL}{project_id}/{generation_id}"


def is_of_several(workflow_id: str) -> bool:
    """Whether a workflow of this id is a generation of several views."""
    return workflow_id.startswith(_SEVERAL)


def try_workflow_id(try_id: UUID) -> str:
    """The workflow id of a try of an edit. It follows from its id, so none is started twice."""
    return f"try/{try_id}"


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
