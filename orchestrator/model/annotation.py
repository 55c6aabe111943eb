"""Annotations: descriptions of views, of source tables, and of their columns."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.model.base import Value

# Of one description, and of all descriptions of the columns of one view or source table, which are shown with it.
LONGEST_DESCRIPTION = 4_000
MOST_DESCRIBED = 100_000


class Described(StrEnum):
    """The kind of thing whose annotations are meant."""

    VIEW = "view"
    TABLE = "table"


class Annotation(Value):
    """A description. An empty `column_name` means the view or source table itself; `owner_id` is the id of that.

    A view's own description is a field of the view. As an annotation it has the id of the view. `exists` is false for a
    column that the view or source table has no more; it is true again once that has the column again.
    """

    id: UUID
    owner_id: UUID
    column_name: str
    description: str
    exists: bool
    created_at: datetime
    updated_at: datetime
