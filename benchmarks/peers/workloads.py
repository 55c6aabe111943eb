"""The views that all contenders materialize, defined once and rendered for each."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.memory_cost import BIG, SMALL

# Without the parentheses, SQLMesh 0.236.4 parses `x % 100003 / 7.0` as `x % (100003 / 7.0)`: another result.
AMBIGUOUS, PLAIN_TO_ALL = "(i * 7919) % 100003 / 7.0", "((i * 7919) % 100003) / 7.0"
_SOURCE = "SELECT i AS k, (i * 7919 + {number} * 104729) % 1000003 AS v FROM range(1000) t(i)"
_JOIN = "SELECT a.k, (a.v + b.v) % 1000003 AS v FROM {{{left}}} a JOIN {{{right}}} b USING (k)"


@dataclass(frozen=True)
class View:
    """A view. Its SQL has the name of each view that it reads in braces."""

    name: str
    sql: str
    reads: tuple[str, ...] = ()

    def render(self, relation: Callable[[str], str]) -> str:
        """The SQL, with each name in braces replaced by what `relation` returns for it."""
        return self.sql.format(**{name: relation(name) for name in self.reads})


@dataclass(frozen=True)
class Workload:
    """Views in layers: each reads views of the layer above only, and those of one layer can be made at once."""

    name: str
    title: str
    layers: tuple[tuple[View, ...], ...]

    @property
    def views(self) -> tuple[View, ...]:
        """All views, each after those that it reads."""
        return tuple(view for layer in self.layers for view in layer)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the workloads."""

    views: int = 100
    layers: int = 10
    width: int = 20
    rows: int = 2_000_000


QUICK = Sizes(views=3, layers=3, width=3, rows=1000)


def small(sizes: Sizes) -> Workload:
    """Many small views, none of which reads another."""
    views = tuple(View(f"small_{number}", SMALL.format(number=number)) for number in range(sizes.views))
    return Workload("small", f"{sizes.views} small views", (views,))


def dag(sizes: Sizes) -> Workload:
    """Layers of small views, each of which reads two of the layer above."""
    first = tuple(View(f"view_0_{n}", _SOURCE.format(number=n)) for n in range(sizes.width))
    others = (tuple(_joined(layer, n, sizes.width) for n in range(sizes.width)) for layer in range(1, sizes.layers))
    return Workload("dag", f"DAG of {sizes.layers * sizes.width} views", (first, *others))


def _joined(layer: int, column: int, width: int) -> View:
    left, right = (f"view_{layer - 1}_{n}" for n in (column, (column + layer) % width))
    return View(f"view_{layer}_{column}", _JOIN.format(left=left, right=right), (left, right))


def big(sizes: Sizes) -> Workload:
    """One view with a large result of twelve columns."""
    sql = BIG.format(rows=sizes.rows).strip().replace(AMBIGUOUS, PLAIN_TO_ALL)
    return Workload("big", f"{sizes.rows:,} rows", ((View("big", sql),),))


def start(_: Sizes) -> Workload:
    """One small view, for cold starts."""
    return Workload("start", "cold start", ((View("first", SMALL.format(number=0)),),))


WORKLOADS: dict[str, Callable[[Sizes], Workload]] = {"small": small, "dag": dag, "big": big, "start": start}
