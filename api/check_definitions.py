"""The shapes of checks in the definitions of a project."""

from typing import Any

from pydantic import BaseModel, Field

from api.checks import LONGEST_TEXT, MOST_TAGS, Tag
from api.schemas import RequestModel
from orchestrator.model.change_plan import Action
from orchestrator.model.check import LONGEST_COLUMN_NAME, CheckType, Severity

_CHECKED_COLUMN = "The column that it is about; empty: none, or those of its config"
_CHECK_CONFIG = "As of a check itself; in place of an id, a relationships has the name of a view or table in `to`"
_SEVERITY = "error keeps a result from being published on which it fails; warn only shows it"


class CheckIn(RequestModel):
    """A check of a view as it is to be. A field that is left out gets its default."""

    check_type: CheckType = Field(description="What it asserts", examples=["not_null"])
    column_name: str = Field(default="", max_length=LONGEST_COLUMN_NAME, description=_CHECKED_COLUMN)
    config: dict[str, Any] = Field(default={}, description=_CHECK_CONFIG)
    name: str | None = Field(default=None, description="A name, unique in the project")
    description: str = Field(default="", max_length=LONGEST_TEXT, description="Why it is there")
    severity: Severity = Field(default=Severity.ERROR, description=_SEVERITY)
    enabled: bool = Field(default=True, description="false: runs pass it over")
    tags: list[Tag] = Field(default=[], max_length=MOST_TAGS, description="Words to group checks by")


class PlannedCheckOut(BaseModel):
    """A check that changes."""

    action: Action = Field(description="What becomes of it")
    label: str = Field(description="Its name, or what it asserts")
    fields: list[str] = Field(description="Which fields of a changed one differ; assertion: what it asserts")


class CheckDefinitionOut(BaseModel):
    """A check of a view, as `apply` takes it."""

    check_type: CheckType = Field(description="What it asserts")
    column_name: str = Field(description=_CHECKED_COLUMN)
    config: dict[str, Any] = Field(description=_CHECK_CONFIG)
    name: str | None = Field(description="Its name")
    description: str = Field(description="Why it is there")
    severity: Severity = Field(description=_SEVERITY)
    enabled: bool = Field(description="Whether runs make it")
    tags: list[str] = Field(description="Words to group checks by")
