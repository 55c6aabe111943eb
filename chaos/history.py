"""What the harness knows and has seen: its views, what they promise, what was done, and what was wrong."""

import itertools
import time
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from chaos.checked_queries import CheckedQuery, QueryKind, make_query

_REMEMBERED = 40
_SAME_VIOLATION_AT_MOST = 5


@dataclass
class View:
    """A view by its number, through all its lives: its name is used again when it was deleted.

    `busy` counts what is being done to it at this moment and `touched` all that ever was, so that whoever checks the
    effect of something can tell whether it was alone. `pause` is the note of an operator's pause that must last.
    `id` is that of its last life, `live` says that it still is, and `doubtful` that its deletion may or may not have
    taken place. `readable` says whether a reader has found a result when one last looked.
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
        """What it is saved as."""
        return f"chaos_{self.number}"


@dataclass(frozen=True)
class Violation:
    """Something that must never be: what, and the last that was done to the view it concerns."""

    after_seconds: float
    kind: str
    told: str
    view: str | None
    log: tuple[str, ...]


class History:
    """All of it. `counts` are the figures of the report."""

    def __init__(self, seed: int, views: list[View], known_violations: Collection[str] = ()) -> None:
        """`tolerated` are kinds of violations that are counted apart, as ones that are known."""
        self.seed = seed
        self._tolerated = frozenset(known_violations)
        self.views = views
        self.began = time.monotonic()
        self.promises: dict[int, CheckedQuery] = {}
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.cancelled: set[str] = set()  # runs whose cancel was answered with success
        self.stamps: dict[str, int | None] = {}  # of each snapshot that was read
        self.killed: dict[str, float] = {}  # when each part was last killed or frozen
        self.frozen_until = 0.0
        self.events: deque[str] = deque(maxlen=_REMEMBERED)
        self._revisions = itertools.count(1)
        self._ids: dict[str, View] = {}
        self._told: Counter[tuple[str, str | None]] = Counter()

    def random(self, name: str) -> Random:
        """A source of chance of one task's own: what it does depends on the seed, and not on the others' pace."""
        return Random(f"{self.seed}/{name}")  # noqa: S311 - chance that can be repeated is what is wanted

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def make_query(self, view: View, kind: QueryKind, random: Random) -> CheckedQuery:
        """A new statement for a view. Known before it is sent: whether it arrived is not always told."""
        reads = None if view.reads is None else self.views[view.reads].name
        made = make_query(next(self._revisions), view.number, kind, random, reads)
        self.promises[made.rev] = made
        return made

    def note(self, view: View | None, text: str) -> None:
        """Remember what was done, for the one who will ask how it came to this."""
        line = f"{datetime.now(UTC):%H:%M:%S.%f} +{self.elapsed:7.2f} s  {text}"
        (self.events if view is None else view.log).append(line)

    def by_id(self, view_id: str) -> View | None:
        """The view of that id."""
        return self._ids.get(view_id)

    def born(self, view: View, view_id: str) -> None:
        """A view was saved, for the first time in this life or not."""
        view.id, view.live, view.deletion_uncertain = view_id, True, False
        self._ids[view_id] = view

    @property
    def ids(self) -> list[str]:
        """Every view that ever was, by its id."""
        return [*self._ids]

    def record_violation(self, kind: str, told: str, view: View | None = None) -> None:
        """Record a violation; many of one kind on one view are one finding, and are not all kept."""
        if kind in self._tolerated:
            self.counts[f"tolerated/{kind}"] += 1
            return
        self.counts[f"violations/{kind}"] += 1
        key = kind, view.name if view else None
        self._told[key] += 1
        if self._told[key] > _SAME_VIOLATION_AT_MOST:
            return
        log = sorted([*self.events, *(view.log if view else ())])
        self.violations.append(Violation(round(self.elapsed, 2), kind, told, key[1], tuple(log)))


def population(*, bulk: bool) -> list[View]:
    """The views: some that change what they do, some that read others, and one whose result is several files."""
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
    ]
    return [View(number, kinds, reads) for number, (kinds, reads) in enumerate(plans)]
