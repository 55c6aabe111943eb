"""Random views over random views have the values and types that they have in plain DuckDB, materialized or not.

`MATVIEW_FUZZ_PAIRS` says how many pairs of a view and one that reads it are tried, `MATVIEW_FUZZ_SEED` which.
"""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from orchestrator.model.errors import EngineCrashed
from orchestrator.model.run import Relation
from orchestrator.model.snapshot import Column
from orchestrator.model.write_target import WriteTarget
from tests.contract.support import number_from_environment
from tests.engines.conftest import Result, WholeEngine, file_url, make_plan, snapshot, view
from tests.fuzz.views import Chain, chains

PAIRS = number_from_environment("MATVIEW_FUZZ_PAIRS", 120)
SEED = number_from_environment("MATVIEW_FUZZ_SEED", 1)
PARTS = 6
_AT_ONCE = 3
NEGATIVE_ZERO = re.compile(r"(?<![\d.])-0\.0(?![\d])")


async def written(engine: WholeEngine, folder: Path, sql: str, relations: list[Relation]) -> Result:
    target = folder / uuid4().hex
    target.mkdir()
    return Result(
        await engine.write(make_plan(sql, relations), file_url, WriteTarget.local(target), lambda _: None), target
    )


async def related(engine: WholeEngine, folder: Path, chain: Chain, random: Random) -> list[Relation]:
    """The views of a chain as inputs of a run, some of them materialized by runs that read those before."""
    relations: list[Relation] = []
    known: dict[str, tuple[Column, ...]] = {}
    for name, sql in chain.views.items():
        read = {other: columns for other, columns in known.items() if other in sql}
        known[name] = await engine.analyzer.describe(sql, read)
        assert [(c.name, c.duckdb_type) for c in known[name]] == chain.columns(name), name
        result = None
        if random.random() < 0.5:
            try:
                result = await written(engine, folder, sql, relations)
            except EngineCrashed:
                assert not chain.is_written_by_duckdb(name, folder / "plain.parquet"), name
        if result:
            assert [(c.name, c.duckdb_type) for c in result.written.columns] == chain.columns(name), name
            relations.append(snapshot(name, result.folder, result.written))
        else:
            relations.append(view(name, sql))
    return relations


def observed(names: Sequence[str]) -> str:
    """SQL for all that can be seen of columns: their types, their values as text, and the hashes of their values.

    Structs have no hash here: for `list_zip`, DuckDB's hash depends on how the lists lie in memory.
    """
    return ", ".join(
        f'typeof("{name}") AS t{n}, "{name}"::VARCHAR AS v{n},'
        f""" CASE WHEN NOT contains(typeof("{name}"), 'STRUCT') THEN hash("{name}") END AS h{n}"""
        for n, name in enumerate(names)
    )


def comparable(rows: Sequence[object]) -> list[str]:
    """The rows in a fixed order. The sign of a zero is removed: DuckDB's Parquet files may lose it (docs/using.md)."""
    return sorted(NEGATIVE_ZERO.sub("0.0", str(row)) for row in rows)


async def check(engine: WholeEngine, folder: Path, chain: Chain, random: Random) -> None:
    last = list(chain.views)[-1]
    reported: list[str] = []
    try:
        relations = await related(engine, folder, chain, random)
        reported = [relation.kind for relation in relations]
        seen = observed([name for name, _ in chain.columns(last)])
        found = (await written(engine, folder, f"SELECT {seen} FROM {last}", relations)).rows()
        expected = chain.connection.execute(f"SELECT {seen} FROM {last}").fetchall()
        assert comparable(found) == comparable(expected)
    except Exception as error:
        text = "\n".join(f"{name}: {sql}" for name, sql in chain.views.items())
        raise AssertionError(f"{text}\n{reported}\n{error}") from error
    finally:
        chain.close()


@pytest.mark.timeout(60 + 10 * PAIRS // PARTS)
@pytest.mark.parametrize("part", range(PARTS))
async def test_random_views_over_views_agree_with_plain_duckdb(engine: WholeEngine, tmp_path: Path, part: int) -> None:
    random = Random(f"{SEED}-{part}")  # noqa: S311 - no secret
    pairs = PAIRS // PARTS
    turns = asyncio.Semaphore(_AT_ONCE)
    failures: list[BaseException] = []
    checked = 0

    async def one(chain: Chain, choices: Random) -> None:
        try:
            await check(engine, tmp_path, chain, choices)
        except AssertionError as error:
            failures.append(error)
        finally:
            turns.release()

    async with asyncio.TaskGroup() as group:
        for chain in chains(random, pairs):
            await turns.acquire()
            checked += len(chain.views) - 1
            group.create_task(one(chain, Random(random.random())))  # noqa: S311
    assert checked == pairs
    assert not failures, f"{len(failures)} of {pairs}:\n" + "\n\n".join(map(str, failures[:5]))
