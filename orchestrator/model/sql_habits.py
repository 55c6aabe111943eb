"""Advice for what people write by habit of other tools: one sentence each, to stand behind an error."""

import re
from pathlib import PurePath

from orchestrator.model.names import quoted
from orchestrator.model.placeholders import without_quoted

_SHOWN = 60
FILES = "Files are read under a name: `matview table add NAME 'PATTERN'`, then FROM NAME."
SEVERAL = "Save each statement as a view of its own, and give only its SELECT."
_STORE = (
    "The files of the store are of all versions of a view, also of earlier ones: read the view by its name. "
    "`matview view path NAME` shows the folder of its current version."
)
_TEMPLATE = (
    "Templates are not expanded: write the name of the view or table. `matview import-dbt` takes over a dbt project."
)
_SHELL = "Variables of a shell or a template are not expanded: write the value, or give a query values with --value."
_MACRO = "Macros and variables with @ are not expanded: write the expression itself."
_CREATE = "Give only the SELECT; the name of a view stands beside it: `matview view create {name} 'SELECT …'`."
_CHANGES = "A view only reads: give the SELECT whose rows it has."

_DBT_NAME = re.compile(r"\{\{-?\s*(ref|source)\s*\(([^)\n]{1,200})\)")
_ARGUMENT = re.compile(r"""['"]([^'"\n]{1,128})['"]""")
_MACRO_USE = re.compile(r"(?<![\w@<>&|!*~/+-])@[A-Za-z_]\w*|^\s*@[A-Za-z_]", re.MULTILINE)
_CREATED = re.compile(
    r"\s*create\s+(?:or\s+replace\s+)?(?:temp\w*\s+|materialized\s+)?(view|table|macro|function)\s+"
    r"(?:if\s+not\s+exists\s+)?(\"[^\"\n]{1,128}\"|[\w.$]{1,128})?",
    re.IGNORECASE,
)
_FIRST = re.compile(r"\s*([A-Za-z]+)")
_BY_FIRST_WORD = {
    **dict.fromkeys(("insert", "update", "delete", "merge", "copy", "drop", "alter", "truncate"), _CHANGES),
    **dict.fromkeys(("install", "load"), "Extensions of DuckDB cannot be loaded here."),
    **dict.fromkeys(("set", "pragma", "reset"), "A view has no settings of its own; the operator sets its limits."),
    **dict.fromkeys(("attach", "use"), FILES),
}
_FILE_ENDINGS = frozenset(
    {".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".xlsx", ".txt", ".gz", ".zst", ".db", ".duckdb"}
)
_OF_THE_STORE = re.compile(r"(?:^|/)(?:\.matview|snapshots|current)(?:/|$)")


def of_name(name: str) -> str:
    """The advice for a name that is no view or table of the project; empty if there is none."""
    if _OF_THE_STORE.search(name) and "/" in name:
        return _STORE
    path = PurePath(name)
    if "/" not in name and "*" not in name and path.suffix.lower() not in _FILE_ENDINGS:
        return ""
    if len(name) > _SHOWN or not name.isprintable() or "'" in name:
        return FILES
    stem = re.sub(r"\W+", "_", path.name.partition(".")[0]).strip("_")
    table = stem if stem and not stem[0].isdigit() else f"t_{stem}" if stem else "NAME"
    return f"Files are read under a name: `matview table add {table} '{name}'`, then FROM {table}."


def of_text(sql: str) -> str:
    """The advice for a text that is no statement of DuckDB's; empty if there is none.

    It is meant for a text that was refused: a text that is right may look the same.
    """
    code = without_quoted(sql)
    if "{{" in code or "{%" in code:
        return _of_template(sql)
    if "${" in code:
        return _SHELL
    if _MACRO_USE.search(code):
        return _MACRO
    created = _CREATED.match(code)
    if created and created[1].lower() in {"view", "table"}:
        return _CREATE.format(name=created[2] or "NAME")
    first = _FIRST.match(code)
    return _BY_FIRST_WORD.get(first[1].lower(), "") if first else ""


def _of_template(sql: str) -> str:
    found = _DBT_NAME.search(sql)
    names = _ARGUMENT.findall(found[2]) if found else []
    if not found or not names or not names[-1].isprintable():
        return _TEMPLATE
    name = names[-1] if re.fullmatch(r"[A-Za-z_$][\w$]*", names[-1], re.ASCII) else quoted(names[-1])
    return (
        f"Templates are not expanded: for {found[1]}(…) write the name of the view or table, {name}. "
        "`matview import-dbt` takes over a dbt project."
    )
