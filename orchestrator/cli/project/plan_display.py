"""Shows what a change of a project would do, as text."""

import difflib
from collections.abc import Iterator, Mapping

from orchestrator.cli.api_client import Json
from orchestrator.cli.output import echo, hanging
from orchestrator.cli.project.files import ProjectFiles, TableEntry, ViewFile
from orchestrator.cli.statement_errors import with_place
from orchestrator.model.names import name_key
from orchestrator.model.plurals import number_of
from orchestrator.model.position import position_from

_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_SHOWN_RUNS, _SHOWN_COLUMNS = 30, 8


def show_plan(plan: Json, project: ProjectFiles | None, *, diff: bool) -> None:
    """Print a plan: what changes, what breaks or cannot be, and what runs. `project` are the files that it is of."""
    for change in plan["changes"]:
        echo(f"{_SIGNS[change['action']]} {change['kind']:<5} {change['name']}{_details(change)}")
        for line in _checks(change):
            echo(f"      {line}")
        if diff:
            for line in _diff(change):
                echo(f"      {line}")
    if not plan["changes"]:
        echo(f"nothing changes; {plan['unchanged']:,} views and tables are as the files say")
    elif plan["unchanged"]:
        echo(f"  {plan['unchanged']:,} more views and tables stay as they are")
    for one in plan["problems"]:
        echo(hanging("! ", _problem(one, project)))
    for one in plan["broken"]:
        echo(hanging("! ", f"breaks {one['name']}, which reads {', '.join(one['reads'])}: {one['message']}"))
    for line in _runs(plan["runs"]):
        echo(line)


def counts(plan: Json) -> str:
    """How many things a plan creates, changes and deletes, in words."""
    actions = [one["action"] for one in plan["changes"]]
    words = (("create", "created"), ("update", "changed"), ("delete", "deleted"))
    return ", ".join(f"{number:,} {word}" for action, word in words if (number := actions.count(action)))


def _details(change: Json) -> str:
    columns = change["columns"]
    if change["action"] == "create":
        added = columns["added"]
        return f"  ({number_of(len(added), 'column')})" if added else ""
    if change["action"] == "delete":
        return ""
    fields = ", ".join(one.replace("_", " ") for one in change["fields"])
    if change["text_only"]:
        fields = fields.replace("query", "query (spaces, comments or spelling only)")
    parts = [f"+{one['name']} {one['duckdb_type']}" for one in columns["added"]]
    parts += [f"-{one['name']}" for one in columns["removed"]]
    parts += [f"{one['name']} {one['before']} -> {one['after']}" for one in columns["retyped"]]
    more = [f"and {len(parts) - _SHOWN_COLUMNS} more columns"] if len(parts) > _SHOWN_COLUMNS else []
    return f"  {'; '.join([fields, *parts[:_SHOWN_COLUMNS], *more])}"


def _checks(change: Json) -> Iterator[str]:
    """The checks of a view that change; of a new view, their number."""
    if change["action"] == "create":
        yield from [f"+ {number_of(len(change['checks']), 'check')}"] if change["checks"] else []
        return
    for one in change["checks"]:
        fields = f"  {', '.join(one['fields'])}" if one["fields"] else ""
        yield f"{_SIGNS[one['action']]} check  {one['label']}{fields}"


def _diff(change: Json) -> Iterator[str]:
    if change["after"] is None or change["before"] is None:
        return
    before, after = change["before"].splitlines(), change["after"].splitlines()
    lines = difflib.unified_diff(before, after, lineterm="", n=2)
    yield from (line for line in lines if not line.startswith(("---", "+++")))


def _problem(problem: Json, project: ProjectFiles | None) -> str:
    """A problem with the place in the file of the view or table that it is about, if that is known."""
    title, number, key = f"{problem['kind']} {problem['name']}", problem["check"], name_key(problem["name"])
    some: Mapping[str, ViewFile | TableEntry] = (
        {} if project is None else project.views if problem["kind"] == "view" else project.tables
    )
    entry = some.get(key)
    if entry is None:
        return f"{title}: {problem['message']}"
    if number is not None and number < len(entry.checks):
        message = problem["message"]
        if problem["position"] is not None:
            inside = position_from(problem["position"])
            message += f" (line {inside.line}, column {inside.column} of its query)"
        return f"{title}: {with_place(message, entry.checks[number], str(entry.path))}"
    if isinstance(entry, TableEntry):
        return f"{title}: {problem['message']}"
    if problem["position"] is None:
        return f"{entry.path}: {problem['message']}"
    position = position_from(problem["position"])
    if position.view is None:
        position = position._replace(line=position.line + entry.first_line - 1)
    return f"{title}: {with_place(problem['message'], position, str(entry.path))}"


def _runs(runs: list[Json]) -> Iterator[str]:
    if not runs:
        return
    levels = 1 + max(one["level"] for one in runs)
    known = [one["last_seconds"] for one in runs if one["last_seconds"] is not None]
    took = f", which took {sum(known):,.1f} s when they last ran" if known else ""
    yield f"to refresh: {number_of(len(runs), 'view')} in {number_of(levels, 'step')}{took}"
    for one in runs[:_SHOWN_RUNS]:
        yield f"  {'  ' * one['level']}{one['name']}  ({one['reason']})"
    if len(runs) > _SHOWN_RUNS:
        yield f"  and {len(runs) - _SHOWN_RUNS:,} more"
