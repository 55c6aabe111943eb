"""The files of a project: a folder `views` with a `.sql` file for each view, and `sources.yml` for the source tables.

A view has the name of its file. All that the file says beside the statement stands in a comment at its very beginning,
so that every other tool reads the file as SQL:

    /*---
    description: Orders of each day
    frequency: 1hour
    ---*/
    SELECT day, count(*) AS orders FROM orders GROUP BY day
"""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.cli.api_client import Json
from orchestrator.cli.output import Failure
from orchestrator.cli.program import advice
from orchestrator.cli.project import check_words, yaml_text
from orchestrator.model.engine import Engine
from orchestrator.model.names import name_key
from orchestrator.model.position import Position
from orchestrator.model.saved_query import SyncFrequency
from orchestrator.model.source_table import AS_USUAL, ReadOptions

VIEWS, SOURCES = "views", "sources.yml"
_BEGIN, _END = "/*---", "---*/"
_LARGEST_SQL = 400_000
_MOST_FILES = 20_000
# The words of a file, and those of the API.
_VIEW_WORDS = {
    "description": "description",
    "frequency": "sync_frequency",
    "cron": "cron",
    "time_zone": "time_zone",
    "freshness": "freshness",
    "max_staleness": "max_staleness",
    "column_descriptions": "column_descriptions",
}
_DESCRIPTIONS, _CHECKS = "column_descriptions", "checks"
# Words that stand in the object of the query, beside the statement.
_QUERY_WORDS = ("engine", "dialect")
_USUAL = {"freshness": "clock", "time_zone": "UTC"}
_TABLE_WORDS = ("path", "format", "description", "columns", _DESCRIPTIONS, "header", *ReadOptions.model_fields)
_YES_NO = {"true": True, "yes": True, "false": False, "no": False}
_FLAGS = ("header", "union_by_name", "hive_partitioning")


class ViewFile(NamedTuple):
    """The file of a view: its path, the line on which its statement begins, and its definition as the API has it.

    `checks` has the place of each of its checks in the file.
    """

    path: Path
    first_line: int
    definition: Json
    checks: tuple[Position, ...] = ()


class TableEntry(NamedTuple):
    """A source table in its file: its definition as the API has it, and the place of each of its checks."""

    path: Path
    definition: Json
    checks: tuple[Position, ...] = ()


class ProjectFiles(NamedTuple):
    """All files of a project, read: its views and its source tables, by the key of their name."""

    folder: Path
    views: Mapping[str, ViewFile]
    tables: Mapping[str, TableEntry]

    def body(self) -> Json:
        """The definitions as the API takes them."""
        return {
            "views": [one.definition for one in self.views.values()],
            "tables": [one.definition for one in self.tables.values()],
        }


def is_project(folder: Path) -> bool:
    """Whether a folder has files of views or of source tables."""
    return (folder / VIEWS).is_dir() or (folder / SOURCES).is_file()


def read(folder: Path) -> ProjectFiles:
    """Read a project. Raises Failure, with the name of the file, for what is no project or cannot be read."""
    if not is_project(folder):
        raise Failure(
            f"{_shown(folder)} is no project: it has neither a folder {VIEWS}/ nor {SOURCES}. "
            f"To begin with an example: {advice('init')}"
        )
    views: dict[str, ViewFile] = {}
    for path in _sql_files(folder / VIEWS):
        view = _view(folder, path)
        key = name_key(view.definition["name"])
        if key in views:
            raise Failure(f"{relative(views[key].path, folder)} and {relative(path, folder)} have the same name")
        views[key] = view
    tables: dict[str, TableEntry] = {}
    for table in _tables(folder):
        name = table.definition["name"]
        if name_key(name) in tables:
            raise Failure(f"{SOURCES}: {tables[name_key(name)].definition['name']} and {name} are one name")
        tables[name_key(name)] = table
    return ProjectFiles(folder, views, tables)


def write(folder: Path, definitions: Json) -> list[Path]:
    """Write a project's definitions; returns the files. Those of views that are no longer there are removed."""
    views = folder / VIEWS
    views.mkdir(parents=True, exist_ok=True)
    written = [folder / SOURCES]
    tables = {one["name"]: _table_words(folder, one) for one in definitions["tables"]}
    _replace(folder / SOURCES, yaml_text.dump({"tables": tables}) if tables else "tables: {}\n")
    known = {name_key(path.stem): path for path in _sql_files(views)}
    for view in definitions["views"]:
        path = known.pop(name_key(view["name"]), views / f"{view['name']}.sql")
        if path.stem != view["name"]:  # spelled in another case
            path.unlink()
            path = path.with_name(f"{view['name']}.sql")
        _replace(path, _view_text(view))
        written.append(path)
    for path in known.values():
        path.unlink()
    return written


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text.encode())
    beside.replace(path)


def _sql_files(folder: Path) -> Iterator[Path]:
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        found += [Path(root) / one for one in sorted(files) if one.endswith(".sql") and not one.startswith(".")]
        if len(found) > _MOST_FILES:
            raise Failure(f"{_shown(folder)} holds more than {_MOST_FILES:,} files of SQL")
    return iter(found)


def _view(folder: Path, path: Path) -> ViewFile:
    text, file = read_text(path, _LARGEST_SQL), relative(path, folder)
    header, sql, first_line = _parts(text, file)
    values = yaml_text.load(header, file=file, first_line=2)
    definition: Json = {"name": path.stem, "query": {"kind": "SQLQuery", "query": sql}}
    root = yaml_text.composed(header) if _CHECKS in values else None
    places = yaml_text.item_places(header, root, _CHECKS, first_line=2)
    for word, value in values.items():
        if word == _CHECKS:
            definition[word] = check_words.checks(value, places, file)
            continue
        if word in _QUERY_WORDS:
            definition["query"][word] = _one_text(file, word, value)
            continue
        if word not in _VIEW_WORDS:
            raise Failure(f"{file}: {unknown_word(word, [*_VIEW_WORDS, *_QUERY_WORDS, _CHECKS])}")
        definition[_VIEW_WORDS[word]] = _texts(file, value) if word == _DESCRIPTIONS else _one_text(file, word, value)
    return ViewFile(path, first_line, definition, tuple(places))


def _one_text(where: str, word: str, value: Any) -> str | None:  # noqa: ANN401 - YAML
    if not isinstance(value, str):
        raise Failure(f"{where}: {word} is a text")
    return value or None


def _texts(where: str, value: Any) -> dict[str, str]:  # noqa: ANN401 - YAML
    """Descriptions of columns; a column without one is left out."""
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise Failure(f"{where}: {_DESCRIPTIONS} holds a text for each column, as in `day: The day in UTC`")
    return {column: text for column, text in value.items() if text}


def _parts(text: str, file: str) -> tuple[str, str, int]:
    """The header of a file, its statement, and the line on which that begins."""
    lines = text.removesuffix("\n").split("\n")
    if lines[0].rstrip() != _BEGIN:
        return "", "\n".join(lines), 1
    for number, line in enumerate(lines):
        if line.rstrip() == _END:
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]), number + 2
    raise Failure(f"{file}:1: the comment that begins with {_BEGIN} has no line {_END}")


def _view_text(view: Json) -> str:
    sql: str = view["query"]["query"]
    if view["cron"] is not None and view["sync_frequency"] != SyncFrequency.NEVER:
        view = {**view, "sync_frequency": None}  # the one that comes nearest to the expression
    values = {
        word: view[field] for word, field in _VIEW_WORDS.items() if view[field] and view[field] != _USUAL.get(word)
    }
    values |= {
        word: view["query"][word] for word in _QUERY_WORDS if view["query"].get(word) not in {None, Engine.DUCKDB}
    }
    if view.get(_CHECKS):
        values[_CHECKS] = [check_words.words(one) for one in view[_CHECKS]]
    header = f"{_BEGIN}\n{yaml_text.dump(values)}{_END}\n" if values else ""
    if not header and sql.split("\n", 1)[0].rstrip() == _BEGIN:
        header = f"{_BEGIN}\n{_END}\n"
    return f"{header}{sql}\n"


def _tables(folder: Path) -> Iterator[TableEntry]:
    path = folder / SOURCES
    if not path.is_file():
        return
    text = read_text(path, yaml_text.LARGEST_BYTES)
    values = yaml_text.load(text, file=SOURCES)
    for key in values:
        if key != "tables":
            raise Failure(f"{SOURCES}: {unknown_word(key, ['tables'])}")
    tables = values.get("tables") or {}
    if not isinstance(tables, dict):
        raise Failure(f"{SOURCES}: tables holds a name for each table, as in `orders:` below it")
    root = yaml_text.composed(text)
    for name, value in tables.items():
        fields = dict(value) if isinstance(value, dict) else {}
        places = yaml_text.item_places(text, root, "tables", name, _CHECKS)
        checks = check_words.checks(fields.pop(_CHECKS, ""), places, SOURCES)
        definition = _table(folder, name, fields) | ({_CHECKS: checks} if checks else {})
        yield TableEntry(path, definition, tuple(places))


def _table(folder: Path, name: str, fields: Mapping[str, Any]) -> Json:
    where = f"{SOURCES}: table {name}"
    for word in fields:
        if word not in _TABLE_WORDS:
            raise Failure(f"{where}: {unknown_word(word, [*_TABLE_WORDS, _CHECKS])}")
    for word in ("path", "format"):
        if not isinstance(fields.get(word), str) or not fields[word]:
            raise Failure(f"{where}: {word} is missing")
    definition: Json = {"name": name, "url_pattern": _pattern(folder, fields["path"])}
    return definition | {word: _value(where, word, value) for word, value in fields.items() if word != "path"}


def _value(where: str, word: str, value: Any) -> object:  # noqa: ANN401 - YAML
    """A field of a table as the API takes it."""
    if word == "columns":
        if not isinstance(value, dict) or not all(isinstance(kind, str) for kind in value.values()):
            raise Failure(f"{where}: columns holds a type for each column, as in `zip: VARCHAR`")
        return [{"name": column, "type": kind} for column, kind in value.items()]
    if word == _DESCRIPTIONS:
        return _texts(where, value)
    text = _one_text(where, word, value)
    if word in _FLAGS:
        if value not in _YES_NO:
            raise Failure(f"{where}: {word} is true or false")
        return _YES_NO[value]
    return text if word == "description" else value


def _table_words(folder: Path, table: Json) -> Json:
    words: Json = {"format": table["format"], "path": _below(folder, table["url_pattern"])}
    words |= {word: table[word] for word in ("description", _DESCRIPTIONS) if table[word]}
    if table["columns"]:
        words["columns"] = {one["name"]: one["type"] for one in table["columns"]}
    if table.get(_CHECKS):
        words[_CHECKS] = [check_words.words(one) for one in table[_CHECKS]]
    usual = AS_USUAL.model_dump()
    options = {word: table[word] for word, value in usual.items() if table[word] not in {None, value}}
    return words | {word: str(value).lower() if value is True else value for word, value in options.items()}


def _pattern(folder: Path, path: str) -> str:
    """The pattern as the API takes it: a path that is not absolute is one below the project."""
    is_remote = "://" in path
    return path if is_remote or Path(path).is_absolute() else f"{folder.absolute()}/{path.removeprefix('./')}"


def _below(folder: Path, pattern: str) -> str:
    return pattern.removeprefix(f"{folder.absolute()}/")


def read_text(path: Path, largest: int) -> str:
    """The text of a file of at most so many bytes. Raises Failure."""
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
        if len(content) > largest:
            raise Failure(f"{_shown(path)} has more than {largest:,} bytes")
        return content.decode().removeprefix("\ufeff")
    except OSError as error:
        raise Failure(f"{_shown(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{_shown(path)} is not text in UTF-8") from None


def unknown_word(word: str, known: Iterable[str]) -> str:
    """That there is no such word, and the one that is meant."""
    near = difflib.get_close_matches(word, [*known], n=1)
    return f"there is no {word!r} here" + (f"; did you mean {near[0]!r}?" if near else f", but {', '.join(known)}")


def relative(path: Path, folder: Path) -> str:
    """The path of a file of a project, as it is shown."""
    return _shown(path.relative_to(folder))


def _shown(path: Path) -> str:
    return str(path) if str(path) != "." else "this folder"
