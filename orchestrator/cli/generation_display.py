"""Shows how the views of a generation stand while it runs: as a tree on a terminal, elsewhere as a line a view."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.api_client import Json
from orchestrator.cli.follow import result_line, seconds
from orchestrator.cli.output import echo, out
from orchestrator.model.generation import MemberPhase
from orchestrator.model.printable import one_line
from orchestrator.model.run import RunStatus

# A larger tree does not fit on a screen. Then only the views that are of interest are shown.
_LARGEST_TREE = 40
_STYLES = {
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.CANCELLED: "yellow",
    RunStatus.SKIPPED: "dim",
}
_OF_INTEREST = {RunStatus.FAILED, RunStatus.CANCELLED}


def summary(generation: Json) -> str:
    """How many views have each status, as text."""
    return ", ".join(f"{number:,} {status.lower()}" for status, number in sorted(generation["counts"].items()))


def ended_line(member: Json) -> str:
    """One view of a generation and how its run stands, as text."""
    return f"{member['name']}: {_state(member)}"


@contextmanager
def display(*, quiet: bool) -> Iterator[Callable[[Json], None]]:
    """Yield a function that shows how a generation stands now."""
    if quiet:
        yield lambda _: None
    elif out.is_terminal:
        with Live(console=out, refresh_per_second=8, vertical_overflow="ellipsis") as live:
            yield lambda generation: live.update(_tree(generation), refresh=True)
    else:
        yield _lines()


def _lines() -> Callable[[Json], None]:
    shown: set[str] = set()

    def show(generation: Json) -> None:
        for member in generation["views"]:
            if member["run"]["status"] != RunStatus.RUNNING and member["id"] not in shown:
                shown.add(member["id"])
                echo(ended_line(member))

    return show


def _tree(generation: Json) -> Tree:
    members: Sequence[Json] = generation["views"]
    headline = summary(generation) or "waits for other runs of its views"
    root = Tree(Text(f"{generation['status']}: {headline}"))
    if len(members) > _LARGEST_TREE:
        chosen = [one for one in members if _is_of_interest(one)]
        for member in islice(chosen, _LARGEST_TREE):
            root.add(_label(member))
        return root
    branches: dict[str, Tree] = {}
    waiting = list(members)
    known = {one["id"] for one in members}
    while waiting:
        left = []
        for member in waiting:
            parents = [one for one in member["parents"] if one in known]
            if all(parent in branches for parent in parents):
                above = branches[parents[-1]] if parents else root
                branches[member["id"]] = above.add(_label(member))
            else:
                left.append(member)
        waiting = left
    return root


def _is_of_interest(member: Json) -> bool:
    return member["phase"] == MemberPhase.QUERYING or member["run"]["status"] in _OF_INTEREST


def _label(member: Json) -> Text:
    style = _STYLES.get(member["run"]["status"], "bold" if member["phase"] == MemberPhase.QUERYING else "")
    return Text(one_line(ended_line(member)), style=style, no_wrap=True, overflow="ellipsis")


def _state(member: Json) -> str:
    run = member["run"]
    match run["status"]:
        case RunStatus.RUNNING:
            return str(member["phase"] or "running")
        case RunStatus.COMPLETED:
            return result_line(run)
        case RunStatus.SKIPPED:
            return f"skipped. {run['skipped_reason']}"
        case RunStatus.FAILED:
            return f"failed after {seconds(run)} seconds. {run['error']}"
        case status:
            return str(status).lower()
