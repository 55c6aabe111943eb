"""The Markdown on the page of a generation in the Temporal UI."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from urllib.parse import quote

from orchestrator.model.generation import RefreshRequest
from orchestrator.model.printable import code, lines
from orchestrator.model.run import Progress, Relation, RunPlan, RunRequest, RunStatus, Trigger
from orchestrator.temporal import contract

_LONGEST_TEXT = 4000
_LONGEST_TROUBLE = 300
_COLUMNS = 64
_MIB = 1 << 20
_STARTED_BY = {
    Trigger.SCHEDULE: "its schedule",
    Trigger.API: "a client of the API",
    Trigger.FIRST: "materializing it",
    Trigger.OPERATOR: "an operator in Temporal",
}


def render(request: RefreshRequest, headline: str, *, message: str | None, more: str = "") -> str:
    """The state of a generation, its trigger, and `more`, which is Markdown. `message` is the error, or the result."""
    due = request.scheduled_for if isinstance(request, RunRequest) else None
    when = f", due {due:%Y-%m-%d %H:%M:%S} UTC" if due else ""
    page = [f"**{headline}**", "", *_as_it_is(_wrapped((message or "")[:_LONGEST_TEXT])), ""]
    page.append(f"Started by {_STARTED_BY[request.trigger]}{when}.")
    return "\n".join([*page, "", more] if more else page)


def render_try(headline: str, message: str | None, more: str) -> str:
    """The state of a try of an edit, with its error or result, and `more`, which is Markdown."""
    page = [f"**{headline}**", "", *_as_it_is(_wrapped((message or "")[:_LONGEST_TEXT])), ""]
    page.append("A try of an edit that is not saved: readers of the view do not see its result.")
    return "\n".join([*page, "", more] if more else page)


def inputs_of(plan: RunPlan, api_url: str | None, namespace: str) -> str:
    """The view of a generation of one, its inputs and its query, as Markdown."""
    view = f"{code(plan.name)} of project {plan.project_id}"
    schedule = f"/namespaces/{namespace}/schedules/{quote(contract.schedule_id(plan.saved_query_id), safe='')}"
    page = [f"View: {f'[{view}]({api_url})' if api_url else view}"]
    page += ["", f"Next runs: [its schedule]({schedule})", "", "Reads:", ""]
    page += [f"- {_described(relation)}" for relation in plan.relations] or ["- nothing but its own text"]
    return "\n".join([*page, "", "Query:", "", *_as_it_is(plan.sql)])


def members_page(
    states: Mapping[str, tuple[int, Sequence[str]]],
    statuses: Mapping[RunStatus, int],
    errors: Sequence[str],
    running_now: Sequence[str],
) -> str:
    """The members of a generation by their state, and the progress of those that run, as Markdown.

    `states` has the number of views in each state, in words, and the names of some; `statuses` counts runs that have
    ended, and `errors` are what some of them ended with.
    """
    page = [", ".join(f"{number:,} {status}" for status, number in sorted(statuses.items()) if number)]
    for state, (number, names) in states.items():
        more = f" and {number - len(names):,} more" if number > len(names) else ""
        page += ["", f"{state.capitalize()} ({number:,}): {', '.join(map(code, names))}{more}"]
    for error in errors:
        page += ["", *_as_it_is(_wrapped(error[:_LONGEST_TROUBLE]))]
    # The list comes last: behind one, an indented block belongs to its last item, and would be read as Markdown.
    page += ["", *(f"- {line}" for line in running_now)]
    return "\n".join(page)


def _wrapped(text: str) -> str:
    """The text in short lines: the page does not wrap the lines of a block."""
    return "\n".join(part for line in _cut(text).split("\n") for part in wrap(line, _COLUMNS) or [""])


def _as_it_is(text: str) -> list[str]:
    """The text as an indented code block: unlike a fenced one, no text can end it or be read as Markdown in it."""
    return [f"    {line}" for line in _cut(text).split("\n")] if text else []


def _cut(text: str) -> str:
    """As much of the text as a page shows, without characters that a terminal or a browser would act on."""
    shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}\n..."
    return lines(shown.replace("\r\n", "\n"))


def running(progress: Progress | None) -> str:
    """The progress of the query in words."""
    if progress is None:
        return "The query runs"
    if progress.trouble is not None:
        return f"Is tried again, after {' '.join(progress.trouble[:_LONGEST_TROUBLE].split())}"
    if progress.waiting:
        return f"Waits for memory, since {_time(progress.elapsed_seconds)}"
    percent = "" if progress.percent is None else f"{progress.percent:.0f} %, "
    held = "" if progress.memory_bytes is None else f", {progress.memory_bytes / _MIB:,.0f} MiB of memory"
    written = f"{progress.bytes_written / _MIB:,.1f} MiB written"
    return f"The query runs: {percent}{_time(progress.elapsed_seconds)}, {written}{held}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _described(relation: Relation) -> str:
    if relation.kind == "snapshot":
        rows = sum(file.rows for file in relation.files)
        return f"the view {code(relation.name)}: its snapshot `{relation.snapshot_id}` ({rows:,} rows)"
    if relation.kind == "source":
        return f"the source table {code(relation.name)}: {relation.format} files {code(relation.url_pattern)}"
    return f"the view {code(relation.name)}, which is not materialized, as part of the query"
