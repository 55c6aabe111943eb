"""Measures how a run reads source files, beside DuckDB's own readers with the same types, in turn: time and memory.

Every value is read and nothing is written, so that only reading is measured. Each reading has a process of its own.
"""

# ruff: noqa: S608 - the names in its SQL are those of its own data

import asyncio
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from benchmarks.big import tpch
from benchmarks.common import Measurement, ratios, show
from orchestrator.engines.duckdb.sources.contract import Columns, Contract
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.scan import source_select
from orchestrator.engines.duckdb.types.inference import source_columns
from orchestrator.engines.duckdb.types.plain_csv import plain_files
from orchestrator.model.source_table import AS_USUAL

FORMATS = {"csv": "CSVWithNames", "ndjson": "JSONEachRow", "parquet": "Parquet"}
_PLAIN = {
    "csv": "read_csv('{path}', auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"',"
    " columns = {columns})",
    "ndjson": "read_json('{path}', format = 'newline_delimited', columns = {columns})",
    "parquet": "read_parquet('{path}')",
}
_KIBIBYTE = 1024


async def measure(folder: Path, rounds: int, scale: float, formats: list[str], columns: int) -> list[Measurement]:
    """Measure the larger table of TPC-H in each format; so many of its sixteen columns are read."""
    source = await asyncio.to_thread(tpch, scale)
    figures: list[Measurement] = []
    for form in formats:
        path = await asyncio.to_thread(_written, source["lineitem"], folder, form)
        of_form = await asyncio.to_thread(_in_turn, path, form, rounds, columns)
        show(f"{form}, {path.stat().st_size / 1e9:.2f} GB, {columns} columns read", of_form)
        figures += of_form
        if form != "parquet":
            path.unlink()
    return figures


def read(path: Path, form: str, how: str, read_columns: int) -> dict[str, float]:
    """Read so many columns once; returns the seconds, processor seconds and MiB of memory that this process took."""
    file = [SourceFile(str(path), str(path))]
    columns = _columns(path, form)
    contract = _contract(form, columns)
    threads = os.cpu_count() or 1
    with duckdb.connect(config={"preserve_insertion_order": False, "threads": threads}) as connection:
        connection.execute("SET enable_progress_bar = false")
        types = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in columns) + "}"
        values = ", ".join(f'max("{name}")' for name, _ in columns[:read_columns])
        began, before = time.perf_counter(), time.process_time()
        if how == "plain":
            query = f"SELECT {values} FROM {_PLAIN[form].format(path=path, columns=types)}"
        else:
            query = f"SELECT {values} FROM ({source_select(connection, contract, file)})"
            plain = plain_files(connection, query, [(contract, file)], threads)
            query = f"SELECT {values} FROM ({source_select(connection, contract, file, plain)})"
        connection.execute(query).fetchall()
        return {
            "s": time.perf_counter() - began,
            "cpu": time.process_time() - before,
            "MiB": _peak_memory_mb(),
        }


def _peak_memory_mb() -> float:
    """The peak of this program alone, in MiB. `getrusage` also counts the peak of its parent before the `exec`."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), flags=re.MULTILINE)
    return float(found[1]) / _KIBIBYTE if found else math.nan


def _in_turn(path: Path, form: str, rounds: int, columns: int) -> list[Measurement]:
    taken: dict[str, list[dict[str, float]]] = {"run": [], "plain": []}
    for number in range(rounds + 1):
        for how, values in taken.items():
            command = [sys.executable, "-m", "benchmarks.reading", str(path), form, how, str(columns)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ourselves
            if number:  # the first one only fills the page cache
                values.append(json.loads(done.stdout))
    figures = []
    for unit, what in (("s", "time"), ("cpu", "processor seconds"), ("MiB", "memory")):
        ours, plain = (
            Measurement(f"{form}, {what}, {how}", [one[unit] for one in taken[how]], "MiB" if unit == "MiB" else "s")
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
    sys.stdout.write(json.dumps(read(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
