"""Random changes of a random graph of views: skipping leaves the rows that running everything would give.

`MATVIEW_FUZZ_CHANGES` says how many changes are made, and `MATVIEW_FUZZ_SEED` which.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import duckdb
import pytest

from tests.contract.support import number_from_environment
from tests.generations.test_refreshing import refreshed, statuses
from tests.support.tenants import Json, Tenant

CHANGES = number_from_environment("MATVIEW_FUZZ_CHANGES", 8)
SEED = number_from_environment("MATVIEW_FUZZ_SEED", 1)
VIEWS = 8
# Each view has the columns k and v, so that an edit breaks no reader.
ONE = (
    "SELECT k, v FROM {x}",
    "SELECT k, v FROM {x} ORDER BY v DESC",
    "SELECT k, sum(v)::BIGINT AS v FROM {x} GROUP BY k",
    "SELECT k, v + 1 AS v FROM {x} WHERE v % 2 = 0",
    "SELECT 0::BIGINT AS k, count(*) AS v FROM {x}",
    "SELECT k % 3 AS k, max(v) AS v FROM {x} GROUP BY 1",
)
TWO = (
    "SELECT x.k, x.v + y.v AS v FROM {x} x JOIN {y} y USING (k)",
    "SELECT k, v FROM {x} UNION ALL SELECT k, v FROM {y}",
    "SELECT k, v FROM {x} WHERE k IN (SELECT k FROM {y})",
)
SAME_CONTENT = {"nothing", "touched", "copied"}


class World:
    """Source files, and views over them in an order in which each reads only what is before it."""

    def __init__(self, tenant: Tenant, folder: Path, random: Random) -> None:
        self.tenant, self.folder, self.random = tenant, folder, random
        self.views: dict[str, Json] = {}
        self.sql: dict[str, str] = {}
        self.reads: dict[str, tuple[str, ...]] = {}

    async def build(self) -> None:
        for name in ("a", "b"):
            (self.folder / name).mkdir(parents=True)
            self._write(self.folder / name / "0.csv", 20)
            await self.tenant.add_table(name, self.folder / name / "*.csv", "CSVWithNames")
        for number in range(VIEWS):
            name = f"v{number}"
            known = ["a", "b", *self.views]
            self.reads[name] = tuple(self.random.sample(known, 2))
            self.sql[name] = self._statement(name)
            view = await self.tenant.create_view(name, self.sql[name])
            if self.random.random() < 0.75 or number == VIEWS - 1:
                await self.tenant.act(view["id"], "materialize")
                await self.tenant.ended(view["id"])
                self.views[name] = await self.tenant.view(view["id"])
            else:
                self.views[name] = view

    def _statement(self, name: str) -> str:
        x, y = self.reads[name]
        return self.random.choice(ONE + TWO).format(x=x, y=y)

    def _write(self, path: Path, rows: int) -> None:
        lines = [f"{self.random.randrange(6)},{self.random.randrange(10, 99)}" for _ in range(rows)]
        path.write_text("\n".join(["k,v", *lines, ""]))

    def _file(self) -> Path:
        return self.random.choice([*self.folder.glob("*/*.csv")])

    async def change(self) -> str:
        kinds: dict[str, Callable[[], None]] = {
            "nothing": lambda: None,
            "touched": self._touch,
            "copied": self._copy,
            "reordered": self._reorder,
            "digit": self._digit,
            "appended": lambda: self._write(self._file(), self.random.randrange(1, 30)),
            "added": lambda: self._write(self.folder / "a" / f"{self.random.randrange(1, 9)}.csv", 3),
            "removed": self._remove,
        }
        kind = self.random.choice([*kinds, "edited", "edited"])
        if kind == "edited":
            await self._edit()
        else:
            kinds[kind]()
        return kind

    def _touch(self) -> None:
        self._file().touch()

    def _copy(self) -> None:
        path = self._file()
        shutil.copyfile(path, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def _reorder(self) -> None:
        path = self._file()
        head, *lines = path.read_text().splitlines()
        self.random.shuffle(lines)
        path.write_text("\n".join([head, *lines, ""]))

    def _digit(self) -> None:
        """Change one digit, in another file of the same name, size and modification time."""
        path = self._file()
        text, status = path.read_text(), path.stat()
        at = self.random.choice([n for n, letter in enumerate(text) if letter.isdigit()])
        new = path.with_suffix(".new")
        new.write_text(f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}")
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        new.replace(path)

    def _remove(self) -> None:
        extra = [path for path in self.folder.glob("a/*.csv") if path.name != "0.csv"]
        if extra:
            self.random.choice(extra).unlink()

    async def _edit(self) -> None:
        name = self.random.choice([*self.views])
        self.sql[name] = self._statement(name)
        body = {"query": {"kind": "HogQLQuery", "query": self.sql[name]}, "soft_update": True}
        await self.tenant.call("PATCH", f"/warehouse_saved_queries/{self.views[name]['id']}/", body)

    async def refresh(self) -> dict[str, str]:
        """Refresh all materialized views, as one or each by itself; returns the status of each run."""
        return await (self._refresh_as_one() if self.random.random() < 0.5 else self._refresh_singly())

    async def _refresh_as_one(self) -> dict[str, str]:
        done = await refreshed(self.tenant)
        assert done["status"] in {"Completed", "Skipped"}, done["views"]
        return statuses(done)

    async def _refresh_singly(self) -> dict[str, str]:
        """Run each after those that it reads."""
        found = {}
        for name, view in self.views.items():
            if view["is_materialized"]:
                before = len(await self.tenant.history(view["id"]))
                await self.tenant.act(view["id"], "run", {})
                run = await self.tenant.closed(await self.tenant.ended(view["id"], before + 1))
                assert run["status"] in {"Completed", "Skipped"}, run["error"]
                found[name] = run["status"]
        return found

    async def check(self, after: object) -> None:
        """Compare each result with what plain DuckDB gives for the files and statements of now."""
        with duckdb.connect() as connection:
            for name in ("a", "b"):
                connection.read_csv(f"{self.folder}/{name}/*.csv").create_view(name)
            for name, sql in self.sql.items():
                connection.execute(f"CREATE VIEW {name} AS {sql}")
            for name, view in self.views.items():
                if view["is_materialized"]:
                    expected = Counter(connection.execute(f"SELECT k, v FROM {name}").fetchall())
                    rows = Counter((row["k"], row["v"]) for row in await self.tenant.rows(view))
                    assert rows == expected, f"{name} after {after}: {self.sql}"


@pytest.mark.timeout(120 + 20 * CHANGES)
async def test_what_skipping_leaves_equals_what_running_everything_gives(tenant: Tenant, sources: Path) -> None:
    random = Random(SEED)  # noqa: S311 - no secret
    world = World(tenant, sources / f"graph-{tenant.project_id}", random)
    await world.build()
    await world.check("the first runs")
    statuses: Counter[str] = Counter()
    for number in range(CHANGES):
        kind = await world.change()
        found = await world.refresh()
        statuses.update(found.values())
        await world.check((number, kind, found))
        if kind in SAME_CONTENT:
            assert set(found.values()) == {"Skipped"}, (number, kind, found)
    assert set(statuses) == {"Completed", "Skipped"}
