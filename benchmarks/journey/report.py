"""The journey as tables in Markdown: how many commands and seconds each step takes, and all that is typed."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.journey.steps import INSTALL, TITLES, NoCommand, Step, Taken, Traveller

Times = Mapping[str, Sequence[Taken]]


def figures_table(travellers: Sequence[Traveller], times: Mapping[str, Times]) -> str:
    """Commands, files that are written, and the medians of both times, by step and tool.

    Args:
        travellers: The tools.
        times: Of each tool by its key, the time of each step in every round, in seconds.
    """
    heads = [""]
    for one in travellers:
        heads += [f"{one.title}: commands", "s", "processor s"]
    steps = {one.key: {INSTALL: Step(("pip install",)), **one.steps()} for one in travellers}
    rows = []
    for name in TITLES:
        if any(times[one.key].get(name) for one in travellers):
            rows.append([TITLES[name]])
            for one in travellers:
                rows[-1] += _cells(steps[one.key][name], times[one.key].get(name, []))
    names = [name for name in TITLES if name != INSTALL]
    shared = [name for name in names if all(isinstance(steps[one.key][name], Step) for one in travellers)]
    rows.append(["all steps that each of them has, without pip"])
    for one in travellers:
        rows[-1] += _sums(steps[one.key], shared, times[one.key])
    return "\n".join(map(_line, [heads, ["---", *["--:"] * (len(heads) - 1)], *rows])) + "\n"


def typed_table(travellers: Sequence[Traveller]) -> str:
    """All commands, by step and tool."""
    rows = [["", *(one.title for one in travellers)], ["---"] * (len(travellers) + 1)]
    names = [name for name in TITLES if name != INSTALL]
    rows += [[TITLES[name], *(_commands(one.steps()[name]) for one in travellers)] for name in names]
    return "\n".join(map(_line, rows)) + "\n"


def _cells(step: Step | NoCommand, times: Sequence[Taken]) -> list[str]:
    if isinstance(step, NoCommand):
        return ["no command", "", ""]
    return [_count([step]), *(_medians(times) if times else ["", ""])]


def _sums(steps: Mapping[str, Step | NoCommand], names: Sequence[str], times: Times) -> list[str]:
    """The commands and files of some steps, and the medians of the sums of each round."""
    rounds = zip(*(times[name] for name in names if times.get(name)), strict=True)
    summed = [Taken(sum(one.seconds for one in taken), sum(one.processor for one in taken)) for taken in rounds]
    return [_count([step for name in names if isinstance(step := steps[name], Step)]), *_medians(summed)]


def _count(steps: Sequence[Step]) -> str:
    edits = sum(step.edits for step in steps)
    files = f" ({edits} {'file' if edits == 1 else 'files'})" if edits else ""
    return f"{sum(len(step.commands) for step in steps)}{files}"


def _medians(times: Sequence[Taken]) -> list[str]:
    seconds, processor = (statistics.median(values) for values in zip(*times, strict=True))
    return [f"{seconds:.1f}", f"{processor:.1f}"]


def _commands(step: Step | NoCommand) -> str:
    if isinstance(step, NoCommand):
        return f"no command: {step.reason}"
    return ", ".join(f"`{command}`" for command in step.commands) or "nothing to start"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
