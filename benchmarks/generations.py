"""Generations: independent views, a changed source, a killed worker, cancels, and many views.

Floors are those of the graph of views upon views: plain DuckDB with a connection a view, and on one connection.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

from benchmarks.baseline import connected, copy, plain
from benchmarks.common import MADE_AT_ONCE, Api, Measurement, at_once, over_floor, ratios, say, show
from benchmarks.dag import Built, Node, graph
from benchmarks.hostile import another_key
from benchmarks.memory_cost import SMALL, memory_mib
from benchmarks.seed_catalog import fill
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.roles import ROLES, Role
from orchestrator.devstack.stack import DevStack

_ENDLESS = "SELECT count(*) AS n FROM range(10000000000) a, range(10000000000) b"
_LONG = "SELECT {number} AS n, sum(sqrt(i)) AS s FROM range(150000000) t(i)"
_SOME_TIME = "SELECT {number} AS n, sum(sqrt(i)) AS s FROM range(4000000) t(i)"
_VIEWS = "/warehouse_saved_queries/"
PARTS = ("independent", "changed", "killed", "cancelled", "workers", "many")
# The first view of this layer reads the source that changes. It has 67 descendants.
_LAYER = 3


async def measure(
    folder: Path, *, rounds: int, counts: Sequence[int], parts: Sequence[str], many: int, long: int
) -> list[Measurement]:
    """Measure the parts in turn, each on a stack of its own."""
    figures: list[Measurement] = []
    for part in parts:
        home = folder / part
        home.mkdir()
        match part:
            case "independent":
                some = await _independent(home, rounds, counts)
            case "changed":
                some = await _changed(home, rounds)
            case "killed":
                some = await _killed(home, rounds, 2 * min(counts))
            case "cancelled":
                some = await _cancelled(home, rounds)
            case "workers":
                some = await _two_workers(home, rounds, long)
            case _:
                some = await _many(home, many)
        show(f"Generations: {part}", some)
        figures += some
    return figures


async def _independent(folder: Path, rounds: int, counts: Sequence[int]) -> list[Measurement]:
    """Views that read nothing, as one generation."""
    found: list[Measurement] = []
    async with _stack(folder) as stack:
        api = Api(stack)
        statements: dict[str, str] = {}
        for count in sorted(counts):
            new = {f"small_{n}": SMALL.format(number=n) for n in range(len(statements), count)}
            statements |= new
            await _saved(api, new)
            ours = Measurement(f"{count} independent views", [])
            first, warm = (
                Measurement(f"{count} views, plain DuckDB, {how}", []) for how in ("new connections", "one connection")
            )
            for number in range(rounds + 1):
                seconds, _ = await api.refresh({"all": True}, force=True)
                floors = [await asyncio.to_thread(run, [*statements.values()], folder) for run in (_cold, _warm)]
                if number:  # the first is not counted
                    for figure, value in zip((ours, first, warm), (seconds, *floors), strict=True):
                        figure.values.append(value)
            found += [ours, first, warm]
            for name, floor in (("a connection a view", first), ("one connection", warm)):
                found.append(over_floor(f"{count} independent views, a view over {name}", ours, floor, count))
    return found


def _cold(statements: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    for number, sql in enumerate(statements):
        plain(sql, folder / f"cold-{number}")
    return time.perf_counter() - began


def _warm(statements: Sequence[str], folder: Path) -> float:
    began = time.perf_counter()
    with connected() as connection:
        for number, sql in enumerate(statements):
            copy(connection, sql, folder / f"warm-{number}", {})
    return time.perf_counter() - began


async def _saved(api: Api, statements: dict[str, str]) -> list[str]:
    """Materialize views without a first run; returns their ids."""
    ids = await at_once(MADE_AT_ONCE, lambda item: api.create(*item), statements.items())
    paths = (f"/warehouse_saved_queries/{view_id}/materialize/" for view_id in ids)
    await at_once(MADE_AT_ONCE, lambda path: api.call("POST", path, {"run": False}), paths)
    return ids


async def _changed(folder: Path, rounds: int) -> list[Measurement]:
    """A graph of 200 views over two sources, of which the one changes that fewer views depend on."""
    layers = graph("v", 10, 20)
    layer = layers[_LAYER]
    layer[0] = Node(layer[0].name, layers[0][0].sql.replace("numbers", "changing"), ("changing",))
    below = {layer[0].name}
    for some in layers:
        below |= {node.name for node in some if below.intersection(node.inputs)}
    ours = Measurement(f"a source changed ({len(below)} views)", [])
    first, warm = (
        Measurement(f"a source changed, plain DuckDB, {how}", []) for how in ("new connections", "one connection")
    )
    changing = folder / "changing" / "rows.parquet"
    changing.parent.mkdir()
    async with _stack(folder) as stack:
        api = Api(stack)
        for name, path in (("numbers", folder / "numbers.parquet"), ("changing", changing)):
            _write(path, 0)
            await api.add_table(name, path, "Parquet")
        built = Built(api, layers, folder)
        await built.create()
        await built.refresh()
        await asyncio.to_thread(built.run_plain, built.every)
        for number in range(rounds):
            _write(changing, number + 1)
            seconds, ran = await built.refresh()
            if ran != len(below):
                raise RuntimeError(f"{ran} of {len(below)} ran")
            ours.values.append(seconds)
            first.values.append(await asyncio.to_thread(built.run_plain, below))
            warm.values.append(await asyncio.to_thread(built.run_warm, below))
    found = [ours, first, warm]
    for name, floor in (("a connection a view", first), ("one connection", warm)):
        found.append(ratios(f"a source changed, beside {name}", ours, floor))
        found.append(over_floor(f"a source changed, a view over {name}", ours, floor, len(below)))
    return found


def _write(path: Path, more: int) -> None:
    # Numbers of which each view of the first layer takes others: the same ones would be no change to it.
    rows = "SELECT i // 100 % 10 AS k, i + 20 * ? AS v FROM range(100000) t(i)"
    duckdb.sql(rows, params=[more]).write_parquet(str(path))


async def _killed(folder: Path, rounds: int, count: int) -> list[Measurement]:
    """A worker killed in the middle of a generation, beside one that is not disturbed."""
    calm, killed = (Measurement(f"{count} views, {how}", []) for how in ("undisturbed", "worker killed half-way"))
    async with _stack(folder) as stack:
        api = Api(stack)
        await _saved(api, {f"view_{n}": _SOME_TIME.format(number=n) for n in range(count)})
        await api.refresh({"all": True})
        for _ in range(rounds):
            seconds, _ = await api.refresh({"all": True}, force=True)
            calm.values.append(seconds)
            killing = asyncio.create_task(_kill_after(stack, seconds / 2))
            seconds, generation = await api.refresh({"all": True}, force=True)
            await killing
            killed.values.append(seconds)
            if generation["counts"] != {"Completed": count}:
                raise RuntimeError(f"after a kill: {generation['counts']}")
    return [calm, killed]


async def _kill_after(stack: DevStack, seconds: float) -> None:
    await asyncio.sleep(seconds)
    stack.kill("worker")


async def _cancelled(folder: Path, rounds: int) -> list[Measurement]:
    """Generations of endless queries, from the call of the cancel until its answer, when all queries have ended."""
    whole, one = Measurement("cancel of a generation of 50", []), Measurement("cancel of one view in it", [])
    async with _stack(folder) as stack:
        api = Api(stack)
        ids = await _saved(api, {f"endless_{n}": _ENDLESS for n in range(50)})
        for _ in range(rounds):
            started = await api.call("POST", "/generations/", {"select": {"all": True}})
            path = f"/generations/{started['id']}/"
            running = await _querying(api, path)
            for figure, call in ((one, f"{_VIEWS}{running[0]}/cancel/"), (whole, f"{path}cancel/")):
                began = time.perf_counter()
                await api.call("POST", call)
                figure.values.append(time.perf_counter() - began)
            if (left := (await api.call("GET", path))["counts"]) != {"Cancelled": len(ids)}:
                raise RuntimeError(f"after a cancel: {left}")
    return [one, whole]


async def _querying(api: Api, path: str) -> list[str]:
    """The views of a generation whose queries run, once there are some."""
    while True:
        views = (await api.call("GET", path))["views"]
        if found := [view["id"] for view in views if view["phase"] == "querying"]:
            return found
        await asyncio.sleep(0.1)


async def _two_workers(folder: Path, rounds: int, long: int) -> list[Measurement]:
    """Long queries of one generation on one worker with one core, and on two of them."""
    roles = {role.name: role for role in ROLES}
    one_core = {"MATVIEW_QUERY_THREADS": "1", "MATVIEW_MAX_CONCURRENT_QUERIES": "1"}
    crowd = [Role(name, roles["worker"].argv, one_core) for name in ("worker-1", "worker-2")]
    stack = DevStack(folder / "home", bootstrap=bootstrap, say=say, roles=[roles["api"], *crowd])
    one, two = (Measurement(f"{long} long queries, {how}", []) for how in ("one worker", "two workers"))
    async with stack:
        api = Api(stack)
        await _saved(api, {f"long_{n}": _LONG.format(number=n) for n in range(long)})
        for _ in range(rounds):
            two.values.append((await api.refresh({"all": True}, force=True))[0])
            await stack.stop("worker-2")
            one.values.append((await api.refresh({"all": True}, force=True))[0])
            await stack.start("worker-2")
    return [one, two, ratios("one worker beside two", one, two)]


async def _many(folder: Path, many: int) -> list[Measurement]:
    """Two projects of so many views, and one of twice as many: generations that change nothing, alone and at once.

    The views are written into the catalog directly. None of their results is there, so the first generation builds all.
    """
    found: list[Measurement] = []
    async with _stack(folder) as stack:
        infos = [stack.info, await another_key(stack.info, "second")]
        projects = [Api(info) for info in infos]
        for name, info, api in zip(("first", "second"), infos, projects, strict=True):
            await fill(info["database_url"], int(info["project_id"]), many)
            seconds, _ = await api.refresh({"all": True})
            found.append(Measurement(f"{many} views of the {name} project, first build", [seconds]))
        for what, force in (("nothing changed", False), ("all forced", True)):
            alone = [(await api.refresh({"all": True}, force=force))[0] for api in projects]
            found.append(Measurement(f"{many} views, {what}, a project alone", alone))
            both = await asyncio.gather(*(api.refresh({"all": True}, force=force) for api in projects))
            found.append(Measurement(f"{many} views, {what}, both projects at once", [seconds for seconds, _ in both]))
        await fill(stack.info["database_url"], int(stack.info["project_id"]), many, prefix="more")
        await projects[0].refresh({"all": True})
        found.append(
            Measurement(
                f"{2 * many} views of one project, nothing changed",
                [(await projects[0].refresh({"all": True}))[0] for _ in range(3)],
            )
        )
        found += [
            Measurement(f"memory at the end, {name}", [memory_mib(stack.info["pids"][name])], "MiB")
            for name in ("api", "worker", "temporal", "postgres")
        ]
    return found


def _stack(folder: Path) -> DevStack:
    return DevStack(folder / "home", bootstrap=bootstrap, say=say, extra_source_roots=[folder])
