"""Source files read as a run reads them, beside DuckDB's own readers with the same types: time and memory, in turn.

Every value is looked at and nothing is written, so that reading is all that is measured. Each reading is a process.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from benchmarks.big import tpch
from benchmarks.common import Figure, ratios, show
from orchestrator.engines.source_columns import source_columns
from orchestrator.engines.source_contract import Columns, Contract
from orchestrator.engines.source_files import SourceFile
from orchestrator.engines.source_relations import source_select
from orchestrator.model.source_table import AS_USUAL

FORMATS = {"csv": "CSVWithNames", "ndjson": "JSONEachRow", "parquet": "Parquet"}
_PLAIN = {
    "csv": "read_csv('{path}', auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"',"
    " columns = {columns})",
    "ndjson": "read_json('{path}', format = 'newline_delimited', columns = {columns})",
    "parquet": "read_parquet('{path}')",
}
_KIBIBYTE = 1024


async def measure(folder: Path, rounds: int, scale: float, formats: list[str]) -> list[Figure]:
    """The larger table of TPC-H in each format."""
    source = await asyncio.to_thread(tpch, scale)
    figures: list[Figure] = []
    for form in formats:
        path = await asyncio.to_thread(_written, source["lineitem"], folder, form)
        of_form = await asyncio.to_thread(_in_turn, path, form, rounds)
        show(f"{form}, {path.stat().st_size / 1e9:.2f} GB, {len(_columns(path, form))} columns", of_form)
        figures += of_form
        if form != "parquet":
            path.unlink()
    return figures


def read(path: Path, form: str, how: str) -> dict[str, float]:
    """Read the file once; the seconds, processor seconds and MiB of memory that this process took."""
    file = [SourceFile(str(path), str(path))]
    columns = _columns(path, form)
    with duckdb.connect(config={"preserve_insertion_order": False}) as connection:
        connection.execute("SET enable_progress_bar = false")
        if how == "plain":
            types = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in columns) + "}"
            select = f"FROM {_PLAIN[form].format(path=path, columns=types)}"
        else:
            select = source_select(connection, _contract(form, columns), file)
        values = ", ".join(f'max("{name}")' for name, _ in columns)
        began, before = time.perf_counter(), time.process_time()
        connection.execute(f"SELECT {values} FROM ({select})").fetchall()  # noqa: S608 - names of our own data
        return {
            "s": time.perf_counter() - began,
            "cpu": time.process_time() - before,
            "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIBIBYTE,
        }


def _in_turn(path: Path, form: str, rounds: int) -> list[Figure]:
    taken: dict[str, list[dict[str, float]]] = {"run": [], "plain": []}
    for number in range(rounds + 1):
        for how, values in taken.items():
            command = [sys.executable, "-m", "benchmarks.reading", str(path), form, how]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            if number:  # the first one only fills the page cache
                values.append(json.loads(done.stdout))
    figures = []
    for unit, what in (("s", "time"), ("cpu", "processor seconds"), ("MiB", "memory")):
        ours, plain = (
            Figure(f"{form}, {what}, {how}", [one[unit] for one in taken[how]], "MiB" if unit == "MiB" else "s")
            for how in taken
        )
        figures += [ours, plain, ratios(f"{form}, {what}, run beside plain DuckDB", ours, plain)]
    return figures


def _written(parquet: Path, folder: Path, form: str) -> Path:
    if form == "parquet":
        return parquet
    path = folder / f"lineitem.{form}"
    with duckdb.connect() as connection:
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT json"
        connection.execute(f"COPY (FROM '{parquet}') TO '{path}' ({options})")
    return path


def _columns(path: Path, form: str) -> Columns:
    with duckdb.connect() as connection:
        return source_columns(connection, _contract(form, ()), [SourceFile(str(path), str(path))])


def _contract(form: str, columns: Columns) -> Contract:
    return Contract(FORMATS[form], columns, frozenset(), AS_USUAL.model_dump(mode="json"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read(Path(sys.argv[1]), *sys.argv[2:])))
