"""The names that live in Temporal's own storage: a wire format, not an implementation detail.

A schedule that points at a workflow type nobody registers fires silently for ever, and a workflow id of another shape
would let two runs of one view overlap. So they stand here once; a test holds the classes against them.
"""

from uuid import UUID

TASK_QUEUE = "matview"

MATERIALIZE = "MaterializeSavedQuery"
SCHEDULED_TICK = "ScheduledTick"

BEGIN_RUN = "begin_run"
WRITE_SNAPSHOT = "write_snapshot"
PUBLISH = "publish"
CLOSE_RUN = "close_run"


def run_workflow_id(saved_query_id: UUID) -> str:
    """The workflow id of every run of a view: the server admits one open workflow of an id, hence one run a view."""
    return f"materialize/{saved_query_id}"


def schedule_id(saved_query_id: UUID) -> str:
    """The schedule of a view. Made from its id, so that asking twice can never make two."""
    return f"materialize/{saved_query_id}"


def tick_workflow_id(saved_query_id: UUID) -> str:
    """What a schedule starts. The server appends the time of the tick, which is why a run is not started directly."""
    return f"tick/{saved_query_id}"
