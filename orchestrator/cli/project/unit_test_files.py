"""Unit tests in the files of a project: lists in `.yml` files below the folder `tests`.

    - name: orders_of_a_day_are_summed
      view: orders_by_day
      given:
        kept_orders:
          - {day: 2026-01-03, amount: 2.5}
          - {day: 2026-01-03, amount: 1}
        customers: customers.csv
      expect:
        - {day: 2026-01-03, orders: 2, revenue: 3.5}

Rows may also stand in a CSV file beside it. There, and here without quotes, an empty value is NULL; so is `null`.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.cli.api_client import Json
from orchestrator.cli.output import Failure
from orchestrator.cli.project import yaml_text
from orchestrator.cli.project.files import read_text, relative, unknown_word

TESTS = "tests"
_WORDS = ("name", "view", "given", "expect")
_SUFFIXES = (".yml", ".yaml")
_MOST_FILES = 2_000


class UnitTestFile(NamedTuple):
    """A unit test as the API takes it, and its place: file, line and column."""

    body: Json
    place: str


def read(folder: Path) -> list[UnitTestFile]:
    """The unit tests of a project, in the order of their files. Raises Failure with the place of what is wrong."""
    return [test for path in _files(folder / TESTS) for test in _tests(folder, path)]


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        found += [Path(root, one) for one in sorted(names) if one.endswith(_SUFFIXES) and not one.startswith(".")]
        if len(found) > _MOST_FILES:
            raise Failure(f"{folder} holds more than {_MOST_FILES:,} files of tests")
    return found


def _tests(folder: Path, path: Path) -> Iterator[UnitTestFile]:
    file = relative(path, folder)
    seen: set[tuple[str, str]] = set()
    for item, place in yaml_text.load_items(read_text(path, yaml_text.LARGEST_BYTES), file=file):
        where = f"{file}:{place.line}:{place.column}"
        if not isinstance(item, dict):
            raise Failure(f"{where}: a test has name, view, given and expect")
        for word in item:
            if word not in _WORDS:
                raise Failure(f"{where}: {unknown_word(word, _WORDS)}")
        for word in ("name", "view"):
            if not isinstance(item.get(word), str) or not item[word]:
                raise Failure(f"{where}: {word} is missing")
        if (item["view"], item["name"]) in seen:
            raise Failure(f"{where}: another test of {item['view']} has the name {item['name']}")
        seen.add((item["view"], item["name"]))
        given = item.get("given") or {}
        if not isinstance(given, dict):
            raise Failure(f"{where}: given has the rows of each table, as in `orders: []` below it")
        if "expect" not in item:
            raise Failure(f"{where}: expect is missing; an empty list stands for no rows")
        body = {
            "name": item["name"],
            "view": item["view"],
            "given": {name: _rows(path, where, f"given.{name}", rows) for name, rows in given.items()},
            "expect": _rows(path, where, "expect", item["expect"]),
        }
        yield UnitTestFile(body, where)


def _rows(path: Path, where: str, word: str, value: Any) -> list[Json]:  # noqa: ANN401 - YAML
    if isinstance(value, str):
        return _csv_rows(path.parent / value, where, word)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise Failure(f"{where}: {word} is a list of rows, as in `- {{id: 1}}`, or the name of a CSV file beside it")
    return value


def _csv_rows(path: Path, where: str, word: str) -> list[Json]:
    if path.suffix != ".csv":
        raise Failure(f"{where}: {word} is a list of rows, or the name of a CSV file that ends with .csv")
    lines = csv.reader(read_text(path, yaml_text.LARGEST_BYTES).splitlines(keepends=True), strict=True)
    try:
        header = next(lines, [])
        rows = [(lines.line_num, row) for row in lines if row]
    except csv.Error as error:
        raise Failure(f"{path}:{lines.line_num}: {error}") from None
    for number, row in rows:
        if len(row) != len(header):
            raise Failure(f"{path}:{number}: it has {len(row)} values, and the first line {len(header)}")
    return [{name: value or None for name, value in zip(header, row, strict=True)} for _, row in rows]
