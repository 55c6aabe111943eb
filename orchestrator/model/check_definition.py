"""Checks as definitions of a project have them: without ids, so that files can say them."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from orchestrator.model.base import Value
from orchestrator.model.check import (
    LONGEST_NAME,
    NAME_PATTERN,
    REFERENCE,
    Assertion,
    Check,
    CheckType,
    Severity,
    Subject,
    checked_assertion,
    usual_config,
)
from orchestrator.model.errors import InvalidCheck
from orchestrator.model.names import MAX_LENGTH, fold, name_key

_TO = "to"


class Target(NamedTuple):
    """A view or a source table, that has checks or that a `relationships` looks into."""

    subject: Subject
    id: UUID


_NO_TARGET = Target(Subject.VIEW, UUID(int=0))


class CheckDefinition(Value):
    """A check of a view or a source table.

    `config` is that of its type, with two differences: a `relationships` has the name of a view or table in `to`, in
    place of its id, and the values of an `accepted_values` are texts.
    """

    check_type: CheckType
    column_name: str = ""
    config: Mapping[str, Any] = {}
    name: str | None = None
    description: str = ""
    severity: Severity = Severity.ERROR
    enabled: bool = True
    tags: tuple[str, ...] = ()

    @property
    def to(self) -> str | None:
        """The name of the view or table that a `relationships` looks into; None for another type."""
        return str(self.config.get(_TO, "")) if self.check_type is CheckType.RELATIONSHIPS else None

    @property
    def key(self) -> str:
        """Equal for two checks of a view that assert the same."""
        config = {**self.config, _TO: name_key(self.to)} if self.to else dict(self.config)
        return json.dumps([self.check_type, fold(self.column_name), config], sort_keys=True, default=str)

    @property
    def label(self) -> str:
        """Its name, or the assertion in words."""
        return self.name or str(Assertion(check_type=self.check_type, column_name=self.column_name, config=self.config))

    def differs(self, other: "CheckDefinition") -> tuple[str, ...]:
        """The fields in which two checks of a view differ; `assertion` stands for the type, column and config."""
        fields = ("name", "description", "severity", "enabled", "tags")
        differing = tuple(one for one in fields if getattr(self, one) != getattr(other, one))
        return differing if self.key == other.key else ("assertion", *differing)

    def checked(self) -> "CheckDefinition":
        """The same with its config in its usual form. Raises InvalidCheck, naming the field."""
        if self.name is not None and not (re.fullmatch(NAME_PATTERN, self.name) and len(self.name) <= LONGEST_NAME):
            raise InvalidCheck(
                f"name: at most {LONGEST_NAME} letters, digits and '_', and a letter at first.", attr="name"
            )
        to = self.config.get(_TO)
        if self.to is not None and not (isinstance(to, str) and 0 < len(to) <= MAX_LENGTH):
            raise InvalidCheck("config.to: the name of a view or table.", attr="config")
        other = next((one for one in self.config if self.to is not None and one in REFERENCE and one != _TO), None)
        if other is not None:
            raise InvalidCheck(f"config.{other}: name the view or table in config.to.", attr="config")
        assertion = self.assertion(_NO_TARGET)
        return self.model_copy(
            update={"name": self.name or None, "config": _config(assertion, to if self.to is not None else None)}
        )

    def assertion(self, target: Target | None) -> Assertion:
        """The assertion, with the id of what a `relationships` looks into. Raises InvalidCheck."""
        config = dict(self.config)
        if self.to is not None and target is not None:
            config.pop(_TO, None)
            config |= {"to_subject_type": target.subject, "to_subject_uuid": target.id}
        return checked_assertion(self.check_type, self.column_name, config)


def definition_of(check: Check, to_name: str | None) -> CheckDefinition:
    """The definition of a check. `to_name` is the name of what a `relationships` looks into, or did."""
    return CheckDefinition(
        check_type=check.assertion.check_type,
        column_name=check.assertion.column_name,
        config=_config(check.assertion, to_name),
        **check.model_dump(include={"name", "description", "severity", "enabled", "tags"}),
    )


def _config(assertion: Assertion, to_name: str | None) -> dict[str, Any]:
    config = {name: value for name, value in assertion.config.items() if name not in REFERENCE}
    if assertion.check_type is CheckType.RELATIONSHIPS:
        config = {_TO: to_name or "", **config}
    return usual_config(assertion.check_type, config)
