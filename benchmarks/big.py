"""One big view, with a result of few rows and of many: the product and plain DuckDB in turn, over TPC-H data."""

import asyncio
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.common import Api, Measurement, ratios, say, show
from benchmarks.memory_cost import plain_apart
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

TABLES = ("lineitem", "orders")
# The generated data is kept between measurements: it is the same every time, and large.
CACHE = Path(__file__).parents[1] / ".bench" / "tpch"

# The first query of TPC-H: it reads nearly everything, and returns four rows.
FEW = """
SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
       sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price,
       sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty,
       avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
FROM lineitem WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus
"""
# Fourteen columns of about half of all items, over three million rows of scale 1: writing is most of the work.
MANY = """
SELECT l_orderkey, l_linenumber, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_shipdate,
       l_returnflag, l_shipmode, l_comment, o_custkey, o_orderdate, o_orderpriority
FROM lineitem JOIN orders ON l_orderkey = o_orderkey WHERE l_shipdate >= DATE '1995-06-17'
"""
# The same rows, sorted into one file: DuckDB has to hold all of them before it writes any.
ORDERED = MANY + "ORDER BY l_shipdate, l_orderkey, l_linenumber"
KINDS = {"few": FEW, "many": MANY, "ordered": ORDERED}
_PATIENCE, _PATIENCE_SECONDS = 1.25, 0.4
_TOLD = {"few": "few rows", "many": "many rows", "ordered": "many rows in order"}


def tpch(scale: float) -> dict[str, Path]:
    """The files of the data set at a scale, generated unless they exist. Raises CalledProcessError."""
    folder = CACHE / f"{scale:g}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as draft:
            whole = Path(draft) / "whole"
            program = str(Path(sysconfig.get_path("scripts")) / "tpchgen-cli")
            what = ("parquet", "--scale-factor", f"{scale:g}", "--tables", ",".join(TABLES), "--quiet")
            subprocess.run([program, *what, "--output-dir", str(whole)], check=True)  # noqa: S603 - all given here
            whole.rename(folder)
    return {name: folder / f"{name}.parquet" for name in TABLES}


async def measure(folder: Path, rounds: int, scale: float, results: Sequence[str]) -> list[Measurement]:
    """Measure these kinds of results, on a stack that is started for it."""
    files = await asyncio.to_thread(tpch, scale)
    figures = []
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[CACHE]) as stack:
        api = Api(stack)
        for name, path in files.items():
            await api.add_table(name, path, "Parquet")
        for kind in results:
            sql = KINDS[kind]
            view_id = await api.materialized(kind, sql)
            label = f"{_TOLD[kind]} ({(await api.history(view_id))[0]['rows']:,})"
            floor = partial(plain_apart, sql, folder / "plain", files)
            of_kind = await _in_turn(api, view_id, label, floor, rounds)
            show(f"One big view, TPC-H at scale {scale:g}", of_kind)
            figures += of_kind
    return figures


async def _in_turn(
    api: Api, view_id: str, label: str, floor: Callable[[], tuple[float, float]], rounds: int
) -> list[Measurement]:
    await asyncio.to_thread(floor)  # not counted, as the product's first run is not
    # The run has nearly always ended by then. Polling the API just before its end would slow it down.
    undisturbed = _PATIENCE * (await asyncio.to_thread(floor))[0] + _PATIENCE_SECONDS
    ours, plain = Measurement(f"{label}, run", []), Measurement(f"{label}, plain DuckDB", [])
    for _ in range(rounds):
        ours.values.append(await api.run(view_id, undisturbed=undisturbed))
        plain.values.append((await asyncio.to_thread(floor))[0])
    return [ours, plain, ratios(f"{label}, run beside plain DuckDB", ours, plain)]
