"""The history: the views, what their statements promise, what was done and observed, and the violations."""

import itertools
import time
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from chaos.checked_queries import SOURCE_KINDS, CheckedQuery, QueryKind, make_query

_REMEMBERED = 40
_SAME_VIOLATION_AT_MOST = 5


@dataclass
class View:
    """A view by its number. After a deletion, the harness creates it again under the same name and another id.

    `in_flight` counts the operations on it that are in progress, and `operation_count` all that were ever started. From
    both, a check learns whether its operation was the only one. `pause` is the note of an operator's pause that must
    last. `id` is the latest one, and `live` says whether the view exists. `deletion_uncertain` says that it is unknown
    whether its deletion took place. `readable` says whether the last read found a result.
    """

    number: int
    kinds: tuple[QueryKind, ...]
    reads: int | None = None
    id: str = ""
    live: bool = False
    deletion_uncertain: bool = False
    readable: bool = False
    in_flight: int = 0
    operation_count: int = 0
    pause: str | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def name(self) -> str:
        """The name under which it is saved."""
        return f"chaos_{self.number}"

    @property
    def has_content(self) -> bool:
        """Whether its rows have the content of the source table."""
        return not SOURCE_KINDS.isdisjoint(self.kinds)


@dataclass(frozen=True)
class Violation:
    """An observation that breaks an invariant, with the last operations on its view and the last faults."""

    after_seconds: float
    kind: str
    message: str
    view: str | None
    log: tuple[str, ...]


class History:
    """All that one run of the harness did and observed. `counts` are the figures of the report."""

    def __init__(self, seed: int, views: list[View], known_violations: Collection[str] = ()) -> None:
        """`known_violations` are kinds of violations that are known: they are counted apart."""
        self.seed = seed
        self._tolerated = frozenset(known_violations)
        self.views = views
        self.began = time.monotonic()
        self.promises: dict[int, CheckedQuery] = {}
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.cancelled: set[str] = set()  # runs whose cancel was answered with success
        self.stamps: dict[str, int | None] = {}  # the stamp of each snapshot that was read
        self.killed: dict[str, float] = {}  # when each part was last killed or frozen
        self.frozen_until = 0.0
        self.events: deque[str] = deque(maxlen=_REMEMBERED)
        self._revisions = itertools.count(1)
        self._ids: dict[str, View] = {}
        self._reported: Counter[tuple[str, str | None]] = Counter()

    def random(self, name: str) -> Random:
        """A random generator for one task, so that its choices depend on the seed and not on other tasks' pace."""
        return Random(f"{self.seed}/{name}")  # noqa: S311 - it has to be repeatable

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def new_query(self, view: View, kind: QueryKind, random: Random) -> CheckedQuery:
        """Make a statement for a view. It is recorded before it is sent, since the answer to a save may be lost."""
        reads = None if view.reads is None else self.views[view.reads].name
        made = make_query(next(self._revisions), view.number, kind, random, reads)
        self.promises[made.rev] = made
        return made

    def note(self, view: View | None, text: str) -> None:
        """Record what was done to a view, or to the stack if `view` is None, for the report of violations."""
        line = f"{datetime.now(UTC):%H:%M:%S.%f} +{self.elapsed:7.2f} s  {text}"
        (self.events if view is None else view.log).append(line)

    def by_id(self, view_id: str) -> View | None:
        """The view of that id, if the harness created it."""
        return self._ids.get(view_id)

    def born(self, view: View, view_id: str) -> None:
        """Record that the API saved a view, be it new or existing."""
        view.id, view.live, view.deletion_uncertain = view_id, True, False
        self._ids[view_id] = view

    @property
    def ids(self) -> list[str]:
        """The ids of all views that were ever created."""
        return [*self._ids]

    def record_violation(self, kind: str, message: str, view: View | None = None) -> None:
        """Record a violation. All are counted, but only the first five of one kind on one view are kept."""
        if kind in self._tolerated:
            self.counts[f"tolerated/{kind}"] += 1
            return
        self.counts[f"violations/{kind}"] += 1
        key = kind, view.name if view else None
        self._reported[key] += 1
        if self._reported[key] > _SAME_VIOLATION_AT_MOST:
            return
        log = sorted([*self.events, *(view.log if view else ())])
        self.violations.append(Violation(round(self.elapsed, 2), kind, message, key[1], tuple(log)))


def population(*, bulk: bool) -> list[View]:
    """The views: some whose statements change in kind, some that read others, and one whose result is several files.

    The last ones have the content of the source table.
    """
    moody = (QueryKind.PLAIN, QueryKind.SLOW, QueryKind.FAILING, QueryKind.GREEDY, QueryKind.ENDLESS, QueryKind.ENDLESS)
    plans: list[tuple[tuple[QueryKind, ...], int | None]] = [
        ((QueryKind.PLAIN,), None),
        ((QueryKind.PLAIN,), None),
        ((QueryKind.SLOW,), None),
        ((QueryKind.PLAIN, QueryKind.SLOW), None),
        ((QueryKind.READER,), 0),
        ((QueryKind.READER,), 2),
        ((QueryKind.READER,), 4),
        (moody, None),
        (moody, None),
        ((QueryKind.PLAIN, QueryKind.FAILING), None),
        ((QueryKind.BULK if bulk else QueryKind.PLAIN,), None),
        ((QueryKind.FILES,), None),
        ((QueryKind.FILES,), None),
        ((QueryKind.CONTENT_READER,), 11),
        ((QueryKind.CONTENT_READER,), 13),
        ((QueryKind.FILES_AND_VIEW,), 13),
    ]
    return [View(number, kinds, reads) for number, (kinds, reads) in enumerate(plans)]
