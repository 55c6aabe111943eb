"""Checks in the file of a view: a list below `checks`, each item as short as it can be.

    checks:
      - not_null: day
      - unique: [day, customer]
      - accepted_values:
          column: kind
          values: [paid, refunded]
          severity: warn
      - relationships: {column: customer, to: customers.id}
      - schema_unchanged

The key of an item is the type of the check. Its other fields stand below that, or beside it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from orchestrator.cli.api_client import Json
from orchestrator.cli.output import Failure
from orchestrator.model.check import CONFIGS, CheckType, Severity
from orchestrator.model.nearest import did_you_mean
from orchestrator.model.position import Position

_COMMON = ("name", "description", "severity", "enabled", "tags")
_YES_NO = {"true": True, "yes": True, "false": False, "no": False}
# The field that a value stands for which is no mapping.
_SHORT = {
    CheckType.NOT_NULL: "column",
    CheckType.UNIQUE: "column",
    CheckType.FRESHNESS: "column",
    CheckType.CUSTOM_SQL: "query",
    CheckType.SCHEMA_UNCHANGED: "allow",
}
_OF_COLUMNS = (CheckType.NOT_NULL, CheckType.UNIQUE)
_WITH_COLUMN = (*_OF_COLUMNS, CheckType.ACCEPTED_VALUES, CheckType.RELATIONSHIPS, CheckType.FRESHNESS)
_LISTS = ("columns", "values", "allow", "tags")


def checks(value: Any, places: Sequence[Position], file: str) -> list[Json]:  # noqa: ANN401 - YAML
    """The checks of a file as the API takes them. `places` has the place of each item.

    Raises Failure with file, line and column.
    """
    if value == "":
        return []
    if not isinstance(value, list):
        raise Failure(f"{file}: checks is a list, as in `- not_null: day` below it")
    return [_check(item, f"{file}:{place.line}:{place.column}") for item, place in zip(value, places, strict=True)]


def words(check: Json) -> str | Json:
    """A check as an item of the list, from what the API says."""
    kind = CheckType(check["check_type"])
    config = dict(check["config"])
    fields: Json = {"column": check["column_name"]} if check["column_name"] else {}
    if kind is CheckType.RELATIONSHIPS:
        fields |= _joined(config.pop("to"), config.pop("to_column"))
    fields |= {name: value if isinstance(value, list) else str(value) for name, value in config.items() if value != []}
    for name in _COMMON:
        if name == "enabled":
            fields |= {} if check[name] else {name: "false"}
        elif check[name] and (name, check[name]) != ("severity", Severity.ERROR):
            fields[name] = check[name]
    if not fields:
        return kind.value
    (first, *others), short = fields, _SHORT.get(kind)
    if not others and (first == short or (first == "columns" and kind in _OF_COLUMNS)):
        return {kind.value: fields[first]}
    return {kind.value: fields}


def _check(item: Any, where: str) -> Json:  # noqa: ANN401 - YAML
    kind, fields = _fields(item, where)
    for word, value in fields.items():
        _require_known(word, kind, where)
        _require_shape(word, value, where)
    made: Json = {"check_type": kind.value, "column_name": fields.pop("column", "")}
    for name in _COMMON:
        if name in fields:
            made[name] = _common(name, fields.pop(name), where)
    if kind is CheckType.RELATIONSHIPS and "to" in fields and "to_column" not in fields:
        # A name may have dots in it, so the last one is that before the column.
        fields["to"], _, fields["to_column"] = fields["to"].rpartition(".")
        if not fields["to"]:
            raise Failure(f"{where}: to is a view or table and its column, as in `to: customers.id`")
    return made | {"config": fields}


def _fields(item: Any, where: str) -> tuple[CheckType, Json]:  # noqa: ANN401 - YAML
    """The type of a check and its fields, wherever they stand."""
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or not item:
        raise Failure(f"{where}: a check has its type and what it is about, as in `not_null: day`")
    kinds = [word for word in item if word in CONFIGS]
    if not kinds:
        _refuse(next((word for word in item if word not in _COMMON), ""), CONFIGS, where, "check")
    if len(kinds) > 1:
        raise Failure(f"{where}: {kinds[0]} and {kinds[1]} are two checks, each an item of the list")
    kind = CheckType(kinds[0])
    beside = {word: value for word, value in item.items() if word != kind}
    inner = _spelled_out(kind, item[kind.value], where)
    twice = next((word for word in beside if word in inner), None)
    if twice is not None:
        raise Failure(f"{where}: {twice} is there twice")
    return kind, inner | beside


def _spelled_out(kind: CheckType, value: Any, where: str) -> Json:  # noqa: ANN401 - YAML
    if isinstance(value, dict):
        return dict(value)
    if value in {"", None} if isinstance(value, str | None) else False:
        return {}
    if isinstance(value, list) and kind in _OF_COLUMNS:
        return {"columns": value}
    if kind in _SHORT and isinstance(value, list) == (_SHORT[kind] in _LISTS):
        return {_SHORT[kind]: value}
    raise Failure(f"{where}: {kind} has fields, as in `{kind}: {{{', '.join(f'{one}: …' for one in _own(kind))}}}`")


def _own(kind: CheckType) -> list[str]:
    """The words of a type, beside those that every check has."""
    names = [one for one in CONFIGS[kind].model_fields if not one.startswith("to_subject")]
    more = ["to"] if kind is CheckType.RELATIONSHIPS else []
    return [*(["column"] if kind in _WITH_COLUMN else []), *more, *names]


def _require_known(word: str, kind: CheckType, where: str) -> None:
    if word not in _own(kind) and word not in _COMMON:
        _refuse(word, [*_own(kind), *_COMMON], where, f"field of {kind}")


def _refuse(word: str, known: Iterable[str], where: str, noun: str) -> NoReturn:
    names = [str(one) for one in known]
    advice = did_you_mean(word, names).strip() or f"There are {', '.join(names)}."
    raise Failure(f"{where}: there is no {noun} {word!r}. {advice}")


def _require_shape(word: str, value: Any, where: str) -> None:  # noqa: ANN401 - YAML
    if word in _LISTS:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise Failure(f"{where}: {word} is a list of texts")
    elif not isinstance(value, str):
        raise Failure(f"{where}: {word} is a text")


def _common(name: str, value: Any, where: str) -> object:  # noqa: ANN401 - YAML
    if name == "enabled":
        if value not in _YES_NO:
            raise Failure(f"{where}: enabled is true or false")
        return _YES_NO[value]
    if name == "severity" and value not in [*Severity]:
        raise Failure(f"{where}: severity is {' or '.join(Severity)}")
    return (value or None) if name == "name" else value


def _joined(to: str, column: str) -> Json:
    return {"to": to, "to_column": column} if "." in column else {"to": f"{to}.{column}"}
