"""Checks: how much longer a run takes that makes them, on a big view and on a small one.

Each round runs the same query as two views in turn, one of which has checks.
"""

from pathlib import Path

from benchmarks.common import Api, Json, Measurement, over_floor, ratios, say, show
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

# Ten columns of which four are checked, as of orders: two keys, a kind and an amount.
_BIG = (
    "SELECT i AS id, i % 100003 AS customer, ['new', 'paid', 'sent', 'back'][1 + i % 4] AS kind, "
    "(hash(i) % 1000000)::BIGINT AS amount, DATE '2020-01-01' + (i % 2000)::INTEGER AS day, md5(i::VARCHAR) AS note, "
    "hash(i, 1) AS a, hash(i, 2) AS b, sqrt(i) AS c, i // 7 AS d FROM range({rows}) t(i)"
)
_SMALL = "SELECT i AS id, i % 7 AS customer FROM range(1000) t(i)"
_FOUR: tuple[Json, ...] = (
    {"check_type": "not_null", "column_name": "customer"},
    {"check_type": "accepted_values", "column_name": "kind", "config": {"values": ["new", "paid", "sent", "back"]}},
    {"check_type": "row_count", "config": {"min": 1}},
    {"check_type": "not_null", "column_name": "amount"},
)
_UNIQUE: Json = {"check_type": "unique", "column_name": "id"}


async def measure(folder: Path, rounds: int, rows: int, small: int) -> list[Measurement]:
    """Measure four generic checks and one of uniqueness on a big view, and `small` checks on a small one."""
    figures: list[Measurement] = []
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        api = Api(stack)
        big = _BIG.format(rows=rows)
        twenty: list[Json] = [{"check_type": "row_count", "config": {"min": number}} for number in range(small)]
        for view, name, sql, checks in (
            ("four", f"four checks, {rows:,} rows", big, _FOUR),
            ("keys", f"uniqueness, {rows:,} rows", big, (_UNIQUE,)),
            ("many", f"{small} checks, 1,000 rows", _SMALL, twenty),
        ):
            without = await api.materialized(f"{view}_without", sql)
            checked = await api.materialized(f"{view}_checked", sql)
            for check in checks:
                await api.call("POST", f"/warehouse_saved_queries/{checked}/checks/", check)
            some = await _in_turn(api, name, without, checked, rounds)
            show(name, some)
            figures += some
    return figures


async def _in_turn(api: Api, name: str, without: str, checked: str, rounds: int) -> list[Measurement]:
    plain, ours = Measurement(f"{name}: without", []), Measurement(f"{name}: with", [])
    for _ in range(rounds):
        for view, figure in ((without, plain), (checked, ours)):
            seconds, generation = await api.refresh({"views": [view]}, force=True)
            if generation["counts"] != {"Completed": 1}:
                raise RuntimeError(f"{name}: {generation['counts']}")
            figure.values.append(seconds)
    found = [plain, ours, ratios(f"{name}: with beside without", ours, plain)]
    return [*found, over_floor(f"{name}: over without", ours, plain, 1)]
