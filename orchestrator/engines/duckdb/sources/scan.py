"""Composes the SELECTs that read source files by fixed rules and check each value against its column's type.

Text files are read as text, and DuckDB detects nothing in them. The rules for values are in `types/rules.py`. The
columns of a CSV file with a header line are found by name, in any order. Without a header line they are found by
position, and in JSON by their keys.
"""

# ruff: noqa: S608 - composing SQL is what this module is for; every name and text in it is quoted here

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import duckdb
from duckdb.sqltypes import DuckDBPyType

from orchestrator.engines.duckdb.child.session import empty_select
from orchestrator.engines.duckdb.sources.contract import BY_NAME, Contract, UnreadableFile
from orchestrator.engines.duckdb.sources.discovery import SourceFile
from orchestrator.engines.duckdb.sources.hive import folder_options, partition_keys
from orchestrator.engines.duckdb.sources.parquet import listed, parquet_groups
from orchestrator.engines.duckdb.sources.text import (
    compression,
    has_long_numbers,
    header,
    is_array,
    with_data,
)
from orchestrator.engines.duckdb.sql.parquet_casts import literal, quoted
from orchestrator.engines.duckdb.types.json_rules import LONG_NUMBER, JsonRules, exact_lines
from orchestrator.engines.duckdb.types.nested import leaves, parts, types_of, with_leaves
from orchestrator.engines.duckdb.types.plain_csv import is_formed
from orchestrator.engines.duckdb.types.rules import Dialect, cast, fits
from orchestrator.model.names import fold

# The beginning of the error for a value that does not fit. Column, type and text follow, separated by SEPARATOR.
MISFIT = "A value does not fit the type of its column: "
SEPARATOR = "\x1f"
BROKEN = "row_is_broken"
NUMBER = "row_number() OVER () AS row_number"


class Group(NamedTuple):
    """Files that one call of a DuckDB function reads.

    `relation` is the SQL behind FROM, and `operands` are the raw columns in it. `kinds` are the types of the columns in
    Parquet files (None for one that they lack) or in plain CSV files. For other files it is empty.
    """

    files: Sequence[SourceFile]
    relation: str
    operands: Sequence[str]
    kinds: Sequence[str | None] = ()


class Cell(NamedTuple):
    """The SQL of one column over the raw relation: its text, its value where it fits, and whether the text fits.

    `prepared` is the column v0, v1, … that `value` and `fits` use, or empty. `fits` may be NULL, which means no unless
    the text itself is NULL.
    """

    text: str
    prepared: str
    value: str
    fits: str

    @property
    def misfits(self) -> str:
        """SQL: whether there is a text that does not fit."""
        if self.fits == "true":
            return "false"
        return f"({self.text} IS NOT NULL AND NOT coalesce({self.fits}, false))"


def source_select(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    files: Sequence[SourceFile],
    plain: Collection[str] = (),
) -> str:
    """A SELECT of the contract's columns over the files. Files without data have no rows.

    A value that does not fit fails the query, with MISFIT in the error, or its row is left out: the contract decides.
    `plain` are the real paths of files in which all values are known to fit. Raises UnreadableFile.
    """
    selects = [_select(connection, contract, group) for group in groups(connection, contract, files, plain)]
    return " UNION ALL ".join(selects) or empty_select(contract.columns)


def groups(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    files: Sequence[SourceFile],
    plain: Collection[str] = (),
) -> Iterator[Group]:
    """The files in groups for one call each. Raises UnreadableFile if a file lacks a column that it must have."""
    if contract.format == "Parquet":
        yield from (Group(*found) for found in parquet_groups(connection, contract, files))
        return
    alike: dict[_Likeness, list[SourceFile]] = {}
    for file in with_data(files):
        alike.setdefault(_likeness(contract, file, is_plain=file.real in plain), []).append(file)
    for likeness, group in alike.items():
        yield _json_group(contract, group, likeness) if _is_json(contract) else _csv_group(contract, group, likeness)


def cells(connection: duckdb.DuckDBPyConnection, contract: Contract, group: Group) -> list[Cell]:
    """The SQL of each column over a relation with the raw columns r0, r1, … and the prepared ones v0, v1, …."""
    folders = {fold(key) for key in partition_keys(contract, group.files)}
    kinds = types_of(connection, [kind for _, kind in contract.columns])
    found = []
    for number, ((name, _), kind) in enumerate(zip(contract.columns, kinds, strict=True)):
        if contract.format == "Parquet" and fold(name) not in folders:
            found.append(_parquet_cell(contract, group, number, str(kind)))
        elif _is_json(contract) and fold(name) not in folders:
            found.append(_json_cell(contract, number, name, kind))
        elif group.kinds and group.kinds[number] == str(kind):
            found.append(Cell(f"r{number}", "", f"r{number}", "true"))
        else:
            found.append(_text_cell(contract, number, name, kind))
    return found


def raw_select(contract: Contract, group: Group, parts: Sequence[Cell], *more: str) -> str:
    """A SELECT of the raw columns r0, r1, … and of the prepared ones v0, v1, …; `more` is put in front.

    If rows may be left out, it also has the column BROKEN: whether DuckDB could not read the row at all.
    """
    raw = [f"{operand} AS r{number}" for number, operand in enumerate(group.operands)]
    broken = f"{'j IS NULL' if _is_json(contract) else 'false'} AS {BROKEN}"
    inner = f"SELECT {', '.join([*more, *([] if contract.fails else [broken]), *raw])} FROM {group.relation}"
    prepared = [f"{part.prepared} AS v{number}" for number, part in enumerate(parts) if part.prepared]
    return f"SELECT {', '.join(['*', *prepared])} FROM ({inner})" if prepared else inner


def _select(connection: duckdb.DuckDBPyConnection, contract: Contract, group: Group) -> str:
    parts = cells(connection, contract, group)
    if contract.fails:
        chosen, where = [_or_error(*column, part) for column, part in zip(contract.columns, parts, strict=True)], ""
    else:
        chosen = [f"{part.value} AS {quoted(name)}" for (name, _), part in zip(contract.columns, parts, strict=True)]
        where = f" WHERE NOT ({' OR '.join([BROKEN, *(part.misfits for part in parts)])})"
    return f"SELECT {', '.join(chosen)} FROM ({raw_select(contract, group, parts)}){where}"


def _or_error(name: str, kind: str, part: Cell) -> str:
    if part.fits == "true":
        return f"{part.value} AS {quoted(name)}"
    said = literal(f"{MISFIT}{name}{SEPARATOR}{kind}{SEPARATOR}")
    failed = f"error({said} || left(CAST({part.text} AS VARCHAR), 200))"
    # Not below a NOT: there DuckDB evaluates all parts of the condition for every value, which takes three times as
    # long. Of a bare condition it skips the parts that cannot change the result.
    value = f"CASE WHEN {part.fits} THEN {part.value} WHEN {part.text} IS NULL THEN NULL ELSE {failed} END"
    return f"{value} AS {quoted(name)}"


def _parquet_cell(contract: Contract, group: Group, number: int, kind: str) -> Cell:
    """A value in the file's own type, or in a stated one. A cast to that and back must not change the value."""
    raw, value, held = f"r{number}", f"v{number}", group.kinds[number]
    if held in {kind, None}:
        return Cell(raw, "", raw if held else f"CAST(NULL AS {kind})", "true")
    if held == "VARCHAR":
        good = fits(raw, value, kind, stated=True, dialect=contract.dialect)
        prepared = cast(raw, kind, contract.dialect)
    else:
        good, prepared = f"TRY_CAST({value} AS {held}) = {raw}", f"TRY_CAST({raw} AS {kind})"
    return Cell(raw, prepared, value, good)


def _text_cell(contract: Contract, number: int, name: str, of: DuckDBPyType) -> Cell:
    text, value, kind = f"r{number}", f"v{number}", str(of)
    if kind == "VARCHAR":
        return Cell(text, "", text, "true" if contract.fails else f"strlen({text}) >= 0")
    stated, dialect = contract.is_stated(name), contract.dialect
    good = _parts_fit(text, of, dialect) if parts(of) else fits(text, value, kind, stated=stated, dialect=dialect)
    shown = f"{text} = 'true'" if kind == "BOOLEAN" and not stated else value
    return Cell(text, cast(text, kind, dialect), shown, good)


def _parts_fit(text: str, kind: DuckDBPyType, dialect: Dialect) -> str:
    """SQL: whether the text is a list or an object whose parts all fit. DuckDB would turn others into NULL."""
    texts = with_leaves(kind, ["VARCHAR"] * len([*leaves(kind)]))
    whole = f"TRY_CAST({text} AS {texts})"
    return f"({whole} IS NOT NULL AND TRY_CAST({text} AS {kind}) IS NOT NULL AND {_part_fits(whole, kind, dialect, 0)})"


def _part_fits(text: str, kind: DuckDBPyType, dialect: Dialect, depth: int) -> str:
    if kind.id == "struct":
        return " AND ".join(_part_fits(f"{text}[{literal(key)}]", of, dialect, depth) for key, of in parts(kind))
    if parts(kind):
        items = f"map_values({text})" if kind.id == "map" else text
        item = f"part_{depth}"
        each = _part_fits(item, parts(kind)[-1][1], dialect, depth + 1)
        return f"coalesce(list_bool_and(list_transform({items}, lambda {item}: {each})), true)"
    good = fits(text, cast(text, str(kind), dialect), str(kind), stated=True, dialect=dialect)
    return f"({text} IS NULL OR coalesce({good}, false))"


def _json_cell(contract: Contract, number: int, name: str, kind: DuckDBPyType) -> Cell:
    rules = JsonRules(kind, stated=contract.is_stated(name), dialect=contract.dialect)
    text = f"r{number}"
    return Cell(text, "", rules.value(text), rules.fits(text))


def _is_json(contract: Contract) -> bool:
    return contract.format == "JSONEachRow"


class _Likeness(NamedTuple):
    """The properties that files must share so that one call of a DuckDB function reads them."""

    compression: str
    folders: tuple[str, ...]
    names: tuple[str, ...] = ()
    is_array: bool = False
    is_exact: bool = False
    is_plain: bool = False


def _likeness(contract: Contract, file: SourceFile, *, is_plain: bool) -> _Likeness:
    alike = _Likeness(compression(file), partition_keys(contract, [file]), is_plain=is_plain)
    if _is_json(contract):
        exact = not contract.fails or has_long_numbers(file, LONG_NUMBER)
        return alike._replace(is_array=is_array(file), is_exact=exact)
    return alike._replace(names=header(file, contract.options)) if contract.format == "CSVWithNames" else alike


def _csv_group(contract: Contract, files: Sequence[SourceFile], likeness: _Likeness) -> Group:
    hive = {fold(key): quoted(key) for key in likeness.folders}
    own = likeness.names or [name for name, _ in contract.columns if fold(name) not in hive]
    there = {**{fold(name): quoted(name) for name in own}, **hive}
    operands = [_operand(contract, there, name, kind, files[0]) for name, kind in contract.columns]
    if not likeness.is_plain:
        return Group(files, csv_call(contract, files, dict.fromkeys(own, "VARCHAR")), operands)
    kinds = {fold(name): kind for name, kind in contract.columns if is_formed(kind) and fold(name) not in hive}
    read = {name: kinds.get(fold(name), "VARCHAR") for name in own}
    of_file = {fold(name): kind for name, kind in read.items()}
    return Group(files, csv_call(contract, files, read), operands, [of_file.get(fold(n)) for n, _ in contract.columns])


def _operand(contract: Contract, there: Mapping[str, str], name: str, kind: str, file: SourceFile) -> str:
    found = there.get(fold(name))
    if found is None:
        if not contract.options["union_by_name"]:
            raise UnreadableFile(f'{file.real} has no column "{name}" in its header line. {BY_NAME}')
        return "CAST(NULL AS VARCHAR)"
    empty_is_null = contract.options["null_text"] and kind != "VARCHAR"
    return f"nullif({found}, '')" if empty_is_null else found


def csv_call(contract: Contract, files: Sequence[SourceFile], columns: Mapping[str, str]) -> str:
    """A call of read_csv that gives these columns (name and type)."""
    options = contract.options
    texts = [
        f"{listed(file.real for file in files)}, compression = {literal(compression(files[0]))}",
        f"auto_detect = false, header = {str(contract.format == 'CSVWithNames').lower()}",
        f"delim = {literal(options['delimiter'])}, quote = {literal(options['quote'])}",
        f"escape = {literal(options['quote'])}, nullstr = {literal(options['null_text'])}",
        f"encoding = {literal(options['encoding'])}, {folder_options(contract)}",
        "columns = {" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items()) + "}",
        *([] if contract.fails else ["ignore_errors = true"]),
    ]
    return f"read_csv({', '.join(texts)})"


def _json_group(contract: Contract, files: Sequence[SourceFile], likeness: _Likeness) -> Group:
    hive, exact = {fold(key): key for key in likeness.folders}, likeness.is_exact
    own = [name for name, _ in contract.columns if fold(name) not in hive]
    form = f"format = '{'array' if likeness.is_array else 'newline_delimited'}'"
    where = f"{listed(file.real for file in files)}, compression = {literal(compression(files[0]))}"
    common = f"{where}, {form}, {folder_options(contract)}"
    if exact:
        errors = "" if contract.fails else ", ignore_errors = true"
        structure = "{" + ", ".join(f'{_json_key(name)}: "JSON"' for name in own) + "}"
        objects = f"read_json_objects({common}{errors})"
        relation = f"({exact_lines(objects, structure, [*hive.values()], fails=contract.fails)})"
    else:
        structure = "{" + ", ".join(f"{literal(name)}: 'JSON'" for name in own) + "}"
        relation = f"read_json({common}, records = true, columns = {structure})"
    return Group(files, relation, [_json_operand(name, hive, exact=exact) for name, _ in contract.columns])


def _json_operand(name: str, hive: Mapping[str, str], *, exact: bool) -> str:
    key = hive.get(fold(name))
    if key is not None:
        return quoted(key)
    return f"j[{literal(name)}]" if exact else quoted(name)


def _json_key(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
