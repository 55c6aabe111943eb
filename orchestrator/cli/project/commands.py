"""`matview init`, `matview plan`, `matview apply` and `matview export`: a project in files."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.api_client import Api, Json, data, with_api
from orchestrator.cli.generations import follow_to_end
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, warn
from orchestrator.cli.program import advice
from orchestrator.cli.project import example, files, unit_test_files
from orchestrator.cli.project.files import ProjectFiles
from orchestrator.cli.project.plan_display import counts, show_plan
from orchestrator.cli.unit_test_runs import UnitTestRun, require_passed, run, show
from orchestrator.model.plurals import number_of

_PATH = "definitions/"
_CHANGES = 4

Folder = Annotated[
    Path, typer.Argument(metavar="[DIR]", help="The folder of the project; the current one if not given.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Delete the views and tables of the project that no file defines.")
]
Break = Annotated[
    bool, typer.Option("--break-dependents", help="Also if views that no file changes would stop binding.")
]
SkipTests = Annotated[bool, typer.Option("--skip-tests", help="Do not run the unit tests of the files.")]
Diff = Annotated[bool, typer.Option("--diff", help="Show how statements change, line by line.")]


def add_to(main: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, plan, apply, export):
        main.command(command.__name__)(command)


def init(folder: Folder = Path()) -> None:
    """Write a small example project: sources, views in layers, a schedule, a README."""
    written = example.write(folder)
    for path in written:
        echo(f"wrote {path}")
    there = [] if folder == Path() else [folder]
    echo(f"\nnext, beside a running `{advice('dev')}`: {advice('plan', *there)}, then {advice('apply', *there)}")


@with_api
def plan(
    api: Api,
    folder: Folder = Path(),
    *,
    prune: Prune = False,
    break_dependents: Break = False,
    diff: Diff = False,
    skip_tests: SkipTests = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"End with the status {_CHANGES} if something would change.")
    ] = False,
) -> None:
    """Show what the files of a project would change, break and refresh. Nothing is changed."""
    project = files.read(folder)
    body = project.body() | {"prune": prune, "break_dependents": break_dependents}
    found = data(api.post(f"{_PATH}plan/", body))
    runs = _show(api, project, body, found, diff=diff, skip_tests=skip_tests)
    refuse(found, break_dependents=break_dependents)
    require_passed(runs)
    if exit_code and found["changes"]:
        raise typer.Exit(_CHANGES)


@with_api
def apply(
    api: Api,
    folder: Folder = Path(),
    *,
    plan_only: Annotated[bool, typer.Option("--plan", help="Only show what would be done, as `plan` does.")] = False,
    prune: Prune = False,
    break_dependents: Break = False,
    skip_tests: SkipTests = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    diff: Diff = False,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Refresh nothing now.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the refresh until it ends.")] = False,
) -> None:
    """Make a project as its files say: all of it or nothing. Then what has changed is refreshed as one."""
    project = files.read(folder)
    body = project.body() | {"prune": prune, "break_dependents": break_dependents}
    found = data(api.post(f"{_PATH}plan/", body))
    runs = _show(api, project, body, found, diff=diff, skip_tests=skip_tests, as_json=plan_only)
    refuse(found, break_dependents=break_dependents)
    require_passed(runs)
    if plan_only:
        return
    if found["changes"] and not yes:
        _ask(found)
    response = api.post(f"{_PATH}apply/", body | {"base": found["base"], "refresh": not no_refresh})
    applied = data(response)
    if applied["generation_id"] is None or no_wait:
        if api.as_json:
            echo_json(response.text)
        elif found["changes"]:
            echo(f"applied: {counts(applied['plan'])}")
        if applied["generation_id"] is None and applied["plan"]["runs"] and not no_refresh:
            warn(f"the refresh could not be started; to refresh: {advice('refresh', '--all')}")
        return
    if found["changes"] and not api.as_json:
        echo(f"applied: {counts(applied['plan'])}")
    follow_to_end(api, applied["generation_id"])


@with_api
def export(api: Api, folder: Folder) -> None:
    """Write the project's views and source tables as files, into a folder that is empty or holds such files."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / files.SOURCES).is_file():
        raise Failure(f"{folder} is neither empty nor a project: it has no {files.SOURCES}", EXIT_USAGE)
    definitions: Json = data(api.get(_PATH))
    written = files.write(folder, definitions)
    if api.as_json:
        echo_json(json.dumps([str(path) for path in written]))
    else:
        views, tables = number_of(len(definitions["views"]), "view"), number_of(len(definitions["tables"]), "table")
        echo(f"wrote {views} and {tables} to {folder}")


def _show(
    api: Api, project: ProjectFiles, body: Json, found: Json, *, diff: bool, skip_tests: bool, as_json: bool = True
) -> list[UnitTestRun]:
    """Show a plan, and run the unit tests of the project over what it makes, unless it cannot be made."""
    if not api.as_json:
        show_plan(found, project, diff=diff)
    tests = [] if skip_tests or found["problems"] else unit_test_files.read(project.folder)
    runs = run(api, body, tests) if tests else []
    if api.as_json and as_json:
        echo_json(json.dumps(found | {"unit_tests": [one.result | {"place": one.place} for one in runs]}))
    elif runs and not api.as_json:
        show(runs)
    return runs


def refuse(plan: Json, *, break_dependents: bool) -> None:
    """Raise Failure for a plan that cannot be applied."""
    if plan["problems"]:
        raise Failure(f"nothing can be applied: {number_of(len(plan['problems']), 'problem')}, see above")
    if plan["broken"] and not break_dependents:
        raise Failure(
            f"{number_of(len(plan['broken']), 'view')} that the change does not touch would stop binding. "
            "Change what reads it too, or add --break-dependents"
        )


def _ask(plan: Json) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise Failure("nothing was changed: there is no terminal to ask on; add --yes", EXIT_USAGE)
    if not typer.confirm(f"Apply this ({counts(plan)})?"):
        raise Failure("nothing was changed")
