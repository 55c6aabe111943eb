"""The steps of the journey: what is written and typed in each, and how long the commands take."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from benchmarks.journey.project import (
    NEWER_SOURCES,
    RENAMED_WITH_READERS,
    SOURCES,
    VIEWS,
    Rows,
    in_plain_duckdb,
)
from benchmarks.peers.subprocesses import PeerError, typed
from benchmarks.processes import cpu_seconds

INSTALL, START, ROLLBACK = "install", "start", "rollback"
# The titles of all steps, in their order.
TITLES = {
    INSTALL: "installed with pip",
    START: "servers started",
    "build": "10 views over 3 sources, from files to results",
    "rows": "rows of a view",
    "refresh": "new data, all refreshed",
    "new_rows": "rows of the view again",
    "refused": "an edit that would break two readers: refused",
    "edit": "the same edit with its readers",
    "back": "that edit taken back",
    ROLLBACK: "a view rolled back to its result before the new data",
    "resume": "its paused schedule resumed",
}


@dataclass(frozen=True)
class Step:
    """Files that are written, and then commands that are typed into a shell.

    Args:
        commands: The commands. `<id>` stands for the word that `picks` finds in the output of the command before.
        files: Their text by their path. They count as edits, those below `data/` not at all.
        shows: A text that the last command has to print.
        fails: Whether the last command has to end with another status than 0.
        picks: Finds the word in an output.
    """

    commands: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    shows: str = ""
    fails: bool = False
    picks: Callable[[str], str] | None = None

    @property
    def edits(self) -> int:
        """How many files an author writes."""
        return sum(not path.startswith("data/") for path in self.files)


@dataclass(frozen=True)
class NoCommand:
    """The reason why a tool has no command for a step."""

    reason: str


class Traveller(ABC):
    """A tool with which the journey is made, in a folder that is empty at its beginning."""

    key: str
    title: str
    # Environment variables that turn its telemetry off.
    quiet: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def steps(self) -> dict[str, Step | NoCommand]:
        """All steps but that of the installation, in the order of TITLES."""

    def typed_steps(self) -> dict[str, Step]:
        """The steps with commands that end, which is all that it has but that of its servers."""
        steps = self.steps()
        return {name: step for name, step in steps.items() if name != START and isinstance(step, Step)}

    @property
    def starts(self) -> bool:
        """Whether it has servers, which the step START starts."""
        start = self.steps()[START]
        return isinstance(start, Step) and bool(start.commands)

    @abstractmethod
    def install(self, folder: Path) -> str:
        """The command that installs it. Files that the command reads are written into the folder."""

    @abstractmethod
    async def programs(self) -> Path:
        """The folder of its programs in an environment that is kept. Raises PeerError if it cannot be made."""

    def serving(self, folder: Path, variables: Mapping[str, str]) -> AbstractAsyncContextManager[object]:
        """Run the servers that the commands of the step START start, if there are any."""
        del folder, variables
        return nullcontext()

    @abstractmethod
    def reading(self, folder: Path) -> AbstractContextManager[Callable[[str], Rows]]:
        """A function that returns the rows of a view, in an order that depends on their values only."""


class Taken(NamedTuple):
    """The seconds that commands took, and the processor time of them and of the servers at that time."""

    seconds: float
    processor: float


class Clock:
    """Takes the time of what is done inside of its context, on the wall and on all processors.

    Processor time is that of this process and its descendants, to which the commands and all servers belong.
    """

    taken = Taken(0, 0)

    def __enter__(self) -> Self:
        self._began = Taken(time.perf_counter(), _processor())
        return self

    def __exit__(self, *_: object) -> None:
        seconds, processor = time.perf_counter() - self._began.seconds, _processor() - self._began.processor
        self.taken = Taken(self.taken.seconds + seconds, self.taken.processor + processor)


def _processor() -> float:
    return sum(cpu_seconds({"": os.getpid()}).values())


async def take(step: Step, folder: Path, variables: Mapping[str, str]) -> Taken:
    """Write the files and type the commands; returns the time that the commands took.

    Raises:
        PeerError: A command ended otherwise, or printed something else than the step expects.
    """
    for path, text in step.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    clock, printed = Clock(), ""
    for number, command in enumerate(step.commands, 1):
        line = command.replace("<id>", step.picks(printed)) if step.picks and printed else command
        with clock:
            status, printed = await typed(line, folder, variables)
        if (status != 0) != (step.fails and number == len(step.commands)):
            raise PeerError(f"`{line}` ended with {status}: {printed}")
    if step.shows not in printed:
        raise PeerError(f"`{step.commands[-1]}` did not print {step.shows!r}: {printed}")
    return clock.taken


def expected(name: str) -> dict[str, Rows]:
    """The rows of each view after a step, as plain DuckDB computes them."""
    sources = SOURCES if name in {"build", "rows"} else NEWER_SOURCES
    rows = in_plain_duckdb(sources, {**VIEWS, **RENAMED_WITH_READERS} if name == "edit" else VIEWS)
    if name in {ROLLBACK, "resume"}:
        rows["total"] = in_plain_duckdb(SOURCES, VIEWS)["total"]
    return rows


def check(traveller: Traveller, name: str, folder: Path) -> None:
    """Compare the rows of all views with those of plain DuckDB. Raises PeerError if a view has others."""
    with traveller.reading(folder) as rows:
        for view, right in expected(name).items():
            if (found := rows(view)) != right:
                raise PeerError(f"after {TITLES[name]!r}, {view} has {found}, and plain DuckDB has {right}")
