"""A change of a check, as the activity of its view shows it."""

from typing import Any

from orchestrator.model.audit import FieldChange
from orchestrator.model.check import Check, CheckFields


def fields_of(check: Check) -> CheckFields:
    """The fields of a check that a client may change."""
    return CheckFields.model_validate(check.model_dump(include=set(CheckFields.model_fields)) | {"reads": ()})


def check_change(before: CheckFields | None, after: CheckFields | None) -> FieldChange:
    """The entry for a check that was added (`before` is None), changed, or deleted (`after` is None)."""
    named = after or before
    label = "" if named is None else named.name or str(named.assertion)
    action = "created" if before is None else "deleted" if after is None else "changed"
    return FieldChange(field=f"checks.{label}", action=action, before=_recorded(before), after=_recorded(after))


def _recorded(fields: CheckFields | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    kept = fields.model_dump(mode="json", include={"name", "severity", "enabled"})
    return kept | {"check_type": fields.assertion.check_type, "config": dict(fields.assertion.config)}
