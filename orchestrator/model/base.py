"""The base of every value in the model, and the clock they are stamped with."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value.

    Unknown fields are ignored, so that a workflow started by an older release can still be read by a newer one, and
    the other way round while both run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


def now() -> datetime:
    """The current time, aware and in UTC: the only form in which this program keeps a time."""
    return datetime.now(UTC)
