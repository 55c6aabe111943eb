"""The SQL of checks. A check passes if its statement selects no row; the rows that it selects fail."""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted or was parsed alone

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.model.names import fold, quoted
from orchestrator.model.type_names import literal

Described = Sequence[tuple[str, str]]

# Types of checks that look at no rows.
AGAINST_CURRENT = ("row_count_change", "schema_unchanged")

# Types whose failures are counted in one scan with those of others.
_COUNTED = ("not_null", "accepted_values", "row_count", "freshness")

_KINDS = ("added", "removed", "retyped")


class Current(NamedTuple):
    """The number of rows of the version before, and its columns (name and logical type)."""

    rows: int
    columns: Described


def condition_of(check: Mapping[str, Any], subject: str) -> str | None:
    """The condition of rows that fail, for the types of checks that look at each row by itself; None for others."""
    columns = _columns(check, subject)
    match check["check_type"]:
        case "not_null":
            return " OR ".join(f"{column} IS NULL" for column in columns)
        case "accepted_values":
            return f"{columns[0]} NOT IN ({', '.join(map(_value, check['config']['values']))})"
    return None


def counts_with_others(check: Mapping[str, Any]) -> bool:
    """Whether a check needs no statement of its own: `aggregate_of` counts its failures."""
    return check["check_type"] in _COUNTED


def aggregate_of(check: Mapping[str, Any], subject: str) -> str | None:
    """An aggregate over the subject that counts failures, for the types that need no statement of their own."""
    where = _filter(check)
    config = check["config"]
    condition = condition_of(check, subject)
    if condition is not None:
        return f"count(*) FILTER (({where}) AND ({condition}))"
    match check["check_type"]:
        case "row_count":
            bounds = []
            if "min" in config:
                bounds.append(f"count(*) FILTER ({where}) < {config['min']}")
            if "max" in config:
                bounds.append(f"count(*) FILTER ({where}) > {config['max']}")
            return f"CASE WHEN {' OR '.join(bounds)} THEN 1 ELSE 0 END"
        case "freshness":
            # Without a moment, nothing is fresh.
            (column,) = _columns(check, subject)
            latest = f"CAST(max({column}) FILTER ({where}) AS TIMESTAMPTZ)"
            oldest = f"now() - to_minutes({config['max_age_minutes']})"
            return f"CASE WHEN {latest} >= {oldest} THEN 0 ELSE 1 END"
    return None


def failing_rows(check: Mapping[str, Any], subject: str) -> str:
    """The statement that selects the failing rows of a check. `subject` is the quoted name of what is checked.

    Raises LookupError for a check that refers to what is not there any more.
    """
    where = _filter(check)
    config = check["config"]
    condition = condition_of(check, subject)
    if condition is not None:
        return f"SELECT * FROM {subject} WHERE ({where}) AND ({condition})"
    match check["check_type"]:
        case "unique":
            columns = _columns(check, subject)
            there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
            listed = ", ".join(columns)
            # SQL's own rule: NULL equals nothing, so that a row with one is not a duplicate.
            return (
                f"SELECT {listed}, count(*) AS occurrences FROM {subject} WHERE ({where}) AND {there} "
                f"GROUP BY {listed} HAVING count(*) > 1"
            )
        case "relationships":
            if check["to_name"] is None:
                raise LookupError("The view or table that it refers to was deleted.")
            column, other = quoted(check["column_name"]), quoted(config["to_column"])
            return (
                f"SELECT checked.* FROM (SELECT * FROM {subject} WHERE {where}) AS checked "
                f"ANTI JOIN {quoted(check['to_name'])} AS others ON checked.{column} = others.{other} "
                f"WHERE checked.{column} IS NOT NULL"
            )
        case "custom_sql":
            return str(config["query"])
        case "row_count":
            return (
                f"SELECT count(*) AS row_count FROM {subject} WHERE {where} HAVING ({aggregate_of(check, subject)}) > 0"
            )
        case "freshness":
            (column,) = _columns(check, subject)
            return (
                f"SELECT max({column}) AS latest FROM {subject} WHERE {where} "
                f"HAVING ({aggregate_of(check, subject)}) > 0"
            )
    raise ValueError(check["check_type"])


def against_current(
    check: Mapping[str, Any], rows: int, columns: Described, current: Current | None
) -> tuple[int, str | None]:
    """The number of failures of a check against the current version, and why. Without one, it passes."""
    if current is None:
        return 0, None
    config = check["config"]
    if check["check_type"] == "row_count_change":
        changed = f"{current.rows:,} rows before, {rows:,} now"
        drop, rise = (100.0 * part / current.rows if current.rows else 0.0 for part in _change(current.rows, rows))
        if current.rows == 0 and rows:
            rise = float("inf")
        is_low = "max_drop_percent" in config and drop > config["max_drop_percent"]
        is_high = "max_rise_percent" in config and rise > config["max_rise_percent"]
        return (1, changed) if is_low or is_high else (0, None)
    found = dict(zip(_KINDS, _differences(current.columns, columns), strict=True))
    refused = {kind: names for kind, names in found.items() if names and kind not in config.get("allow", ())}
    reason = "; ".join(f"{kind}: {', '.join(names[:10])}" for kind, names in refused.items())
    return sum(map(len, refused.values())), reason or None


def texts_of(check: Mapping[str, Any], subject: str) -> list[str]:
    """The statements of a person's making in a check, each to be checked by itself before it is used."""
    config = check["config"]
    if "where" in config:
        return [f"SELECT * FROM {subject} WHERE (\n{config['where']}\n)"]
    return [config["query"]] if check["check_type"] == "custom_sql" else []


def _columns(check: Mapping[str, Any], subject: str) -> list[str]:
    """The columns that a check is about. By itself, the name of one that is gone could be that of the whole row."""
    return [f"{subject}.{quoted(name)}" for name in check["config"].get("columns") or [check["column_name"]]]


def _filter(check: Mapping[str, Any]) -> str:
    where = check["config"].get("where")
    return f"(\n{where}\n)" if where else "true"


def _value(value: object) -> str:
    # A text without a type takes that of the column that it is compared with.
    if isinstance(value, bool):
        return literal("true" if value else "false")
    return literal(str(value))


def _change(before: int, now: int) -> tuple[int, int]:
    return max(before - now, 0), max(now - before, 0)


def _differences(before: Described, now: Described) -> tuple[list[str], list[str], list[str]]:
    old, new = ({fold(name): (name, kind) for name, kind in columns} for columns in (before, now))
    return (
        [name for key, (name, _) in new.items() if key not in old],
        [name for key, (name, _) in old.items() if key not in new],
        [
            f"{name} ({old[key][1]} to {kind})"
            for key, (name, kind) in new.items()
            if key in old and old[key][1] != kind
        ],
    )
