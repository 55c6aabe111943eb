"""Measures how long a cancel takes, from the call of the API until the process that ran the query is gone."""

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import Api, Measurement, say, show
from benchmarks.processes import cpu_of_each, working
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

# Each runs far longer than until its cancel, which comes within 1.5 s. How soon DuckDB itself would notice an interrupt
# depends on what it executes.
QUERIES = {
    "aggregate": "SELECT i % 1000 AS k, sum(sqrt(i)) AS s FROM range(200000000000) t(i) GROUP BY 1",
    "cross join": "SELECT count(*) AS n FROM range(10000000000) a, range(10000000000) b",
    "hash join": (
        "SELECT count(*) AS n FROM range(400000000) a(i) JOIN range(400000000) b(i) ON a.i % 99991 = b.i % 99991"
    ),
    "sort that spills": "SELECT i, md5(i::VARCHAR) AS m FROM range(2000000000) t(i) ORDER BY m",
    "one Parquet file": 'SELECT i AS "order", md5(i::VARCHAR) AS m FROM range(4000000000) t(i)',
    "several Parquet files": "SELECT i, md5(i::VARCHAR) AS m, sha256(i::VARCHAR) AS s FROM range(4000000000) t(i)",
    "CSV": "SELECT sum(a.n) AS s FROM numbers a, numbers b, numbers c",
    "window": (
        "SELECT i, sum(i) OVER (PARTITION BY i % 10 ORDER BY i ROWS 100000 PRECEDING) AS s FROM range(500000000) t(i)"
    ),
    "a regular expression over one huge value": (
        "SELECT length(regexp_replace(repeat('abcdefghij', 50000000 + i::INT), '(a.*j)+?x?', 'z', 'g')) AS n"
        " FROM range(1) t(i)"  # DuckDB would evaluate a constant while the view is being saved
    ),
    "a list of many values": (
        "SELECT list_sum(list_transform(range(60000000 + i), lambda x: sin(x) * cos(x))) AS n FROM range(9) t(i)"
    ),
}
_CSV_ROWS = 2_000_000
_LATEST_SECONDS = 1.5
_GIVE_UP_SECONDS = 30


@dataclass(frozen=True)
class Cancelled:
    """One cancel: seconds from the call until the process was gone, and until the API had answered."""

    gone: float
    answered: float


async def measure(folder: Path, cancels: int, seed: int) -> list[Measurement]:
    """Cancel runs at random moments; the kinds of queries take turns."""
    moments = random.Random(seed)  # noqa: S311 - the same moments every time
    numbers = folder / "numbers.csv"
    numbers.write_text("n\n" + "".join(f"{n}\n" for n in range(_CSV_ROWS)))
    stack = DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[folder])
    found: dict[str, list[Cancelled]] = {kind: [] for kind in QUERIES}
    async with stack:
        api = Api(stack)
        await api.add_table("numbers", numbers, "CSVWithNames")
        view_id = await api.materialized("victim", "SELECT 1 AS n")
        pointer = (await api.call("GET", f"/warehouse_saved_queries/{view_id}/"))["current_snapshot_id"]
        for number in range(cancels):
            kind = list(QUERIES)[number % len(QUERIES)]
            await api.edit(view_id, QUERIES[kind])
            found[kind].append(await _cancel(stack, api, view_id, moments.uniform(0, _LATEST_SECONDS)))
            now = await api.call("GET", f"/warehouse_saved_queries/{view_id}/")
            if now["current_snapshot_id"] != pointer:
                raise RuntimeError(f"the pointer moved: {kind}, cancel {number}")
            _nothing_is_left(Path(stack.info["data_dir"]), kind)
    every = [one for cancelled in found.values() for one in cancelled]
    figures = [Measurement(kind, [one.gone for one in cancelled]) for kind, cancelled in found.items() if cancelled]
    figures.append(Measurement("all, until the process is gone", [one.gone for one in every]))
    figures.append(Measurement("all, until the API has answered", [one.answered for one in every]))
    show("Cancel, in seconds from the call of the API", figures, percentiles=True)
    say(f"{len(every)} cancels (seed {seed}): no survivor, no moved pointer, nothing left in the store")
    return figures


async def _cancel(stack: DevStack, api: Api, view_id: str, after: float) -> Cancelled:
    worker = stack.info["pids"]["worker"]
    before = cpu_of_each(worker)
    await api.call("POST", f"/warehouse_saved_queries/{view_id}/run/", {"full_refresh": True})
    # Its process may be new, or one that is kept.
    while not (born := working(worker, before)):  # noqa: ASYNC110 - /proc has no event to wait for
        await asyncio.sleep(0.002)
    await asyncio.sleep(after)
    born |= working(worker, before)
    began = time.perf_counter()
    answer = asyncio.create_task(api.call("POST", f"/warehouse_saved_queries/{view_id}/cancel/"))
    while any(_is_alive(pid) for pid in born):
        if time.perf_counter() - began > _GIVE_UP_SECONDS:
            raise RuntimeError(f"a process survives its cancel: {born}")
        await asyncio.sleep(0.001)
    gone = time.perf_counter() - began
    if (await answer)["status"] not in {"Cancelled", "Modified"}:
        raise RuntimeError("the API did not say that the run was cancelled")
    return Cancelled(gone, time.perf_counter() - began)


def _is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie, which has ended and waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _nothing_is_left(data: Path, kind: str) -> None:
    left = [str(path) for name in ("staging", "tmp") for path in (data / name).rglob("*") if path.is_file()]
    if left:
        raise RuntimeError(f"files of a cancelled query are left ({kind}): {left}")
