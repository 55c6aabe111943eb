"""Diffs: the columns and rows in which two versions of a view differ."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.model.base import Value
from orchestrator.model.errors import Invalid
from orchestrator.model.limits import Limits
from orchestrator.model.names import name_key
from orchestrator.model.run import SnapshotRelation
from orchestrator.model.snapshot import Column

MOST_KEY_COLUMNS = 32
_SHOWN_NAMES = 20


class ColumnPair(NamedTuple):
    """A column that both versions have, as each of them has it."""

    before: Column
    after: Column

    @property
    def is_retyped(self) -> bool:
        """Whether its type has changed."""
        return self.before.duckdb_type != self.after.duckdb_type


class Comparison(NamedTuple):
    """The columns of two versions: those in `pairs` are compared, in the order of the later version.

    `key` are positions in `pairs`; rows with equal values there are one row of the two versions. Without a key, whole
    rows are compared.
    """

    pairs: tuple[ColumnPair, ...]
    added: tuple[Column, ...]
    removed: tuple[Column, ...]
    key: tuple[int, ...]

    @property
    def retyped(self) -> tuple[ColumnPair, ...]:
        """The columns whose type has changed."""
        return tuple(pair for pair in self.pairs if pair.is_retyped)

    @property
    def has_same_columns(self) -> bool:
        """Whether both versions have the same columns, in any order."""
        return not (self.added or self.removed or self.retyped)


class DiffPlan(Value):
    """All that decides a diff.

    `names` are those of the compared columns in the earlier and in the later version, `key` the positions of those of
    the key. At most `rows` rows are shown of each kind. `large_as_text` and `timeout_seconds` are as in a ReadPlan.
    """

    before: SnapshotRelation
    after: SnapshotRelation
    names: tuple[tuple[str, str], ...]
    key: tuple[int, ...]
    has_same_columns: bool
    rows: int
    limits: Limits
    timeout_seconds: float
    large_as_text: bool = False


def comparison(before: Sequence[Column], after: Sequence[Column], key: Sequence[str] = ()) -> Comparison:
    """The comparison of versions with these columns. Raises Invalid for a key that is not in both of them."""
    earlier = {name_key(column.name): column for column in before}
    later = {name_key(column.name): column for column in after}
    pairs = tuple(ColumnPair(earlier[one], column) for one, column in later.items() if one in earlier)
    return Comparison(
        pairs=pairs,
        added=tuple(column for one, column in later.items() if one not in earlier),
        removed=tuple(column for one, column in earlier.items() if one not in later),
        key=_positions(pairs, key),
    )


def _positions(pairs: Sequence[ColumnPair], key: Sequence[str]) -> tuple[int, ...]:
    if len(key) > MOST_KEY_COLUMNS:
        raise Invalid(f"A key has {MOST_KEY_COLUMNS} columns at most.", attr="key")
    known = {name_key(pair.after.name): position for position, pair in enumerate(pairs)}
    unknown = next((name for name in key if name_key(name) not in known), None)
    if unknown is not None:
        some = ", ".join(pair.after.name for pair in pairs[:_SHOWN_NAMES]) or "none"
        more = " and more" if len(pairs) > _SHOWN_NAMES else ""
        raise Invalid(
            f'The column "{unknown}" of the key is not in both versions. These are: {some}{more}.', attr="key"
        )
    positions = tuple(known[name_key(name)] for name in key)
    if len(set(positions)) < len(positions):
        raise Invalid("A column is in the key twice.", attr="key")
    return positions


def equal_rows(rows: int) -> Mapping[str, Any]:
    """The rows of a diff of two versions that have the same rows of the same columns: members of a JSON object."""
    return {
        "is_identical": True,
        "rows": {"added": 0, "removed": 0, "changed": 0, "unchanged": rows},
        "key_faults": None,
        "changed_columns": [],
        "added": [],
        "removed": [],
        "changed": [],
    }
