"""The base class of every value in the model, and the clock for their times."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value.

    Unknown fields are ignored, so that a newer release can read a workflow that an older one started. The same holds
    the other way round while both run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


def now() -> datetime:
    """The current time, aware and in UTC: the only form in which this program keeps a time."""
    return datetime.now(UTC)
