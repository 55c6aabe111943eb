"""The members of a generation while it runs: which may start, which must be closed, and which can be published.

Every question is answered without looking at all members, since a generation may have ten thousand.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from uuid import UUID

from orchestrator.model.generation import EndedRun, MemberPhase, MemberPlan, why_skipped
from orchestrator.model.run import RunStatus
from orchestrator.model.webhook_event import ClosedRun

# Members that are being written at a time. The server stores activities that no worker is free for, which costs it more
# than to hand them out; and if a worker took all of them, none would be left for another worker.
MOST_IN_FLIGHT = 24
_SHOWN = 50


class State(Enum):
    """How far a member is. `FAILED` covers cancelled ones, and those below them: they are about to be closed."""

    WAITING = "waiting for other views"
    QUERYING = "querying"
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    FAILED = "about to be closed"
    PUBLISHING = "being published"
    ENDED = "ended"


_DONE = {State.WRITTEN, State.UNCHANGED, State.PUBLISHING}
_INITIAL = {MemberPhase.WRITTEN: State.WRITTEN, MemberPhase.UNCHANGED: State.UNCHANGED}


class Member:
    """A member: its plan, and what became of it. `end` is how its run is to be closed, `outcome` how it has ended.

    `is_outdated`: its query reads what was pinned before, and has to run again once it has ended. `is_stopping`: its
    query was cancelled, and has not ended yet.
    """

    def __init__(self, plan: MemberPlan, position: int) -> None:
        self.plan = plan
        self.position = position
        self.state = _INITIAL.get(plan.phase, State.WAITING)
        self.children: list[Member] = []
        self.parents: list[Member] = []
        self.is_outdated = False
        self.is_stopping = False
        self.end: EndedRun | None = None
        self.outcome: ClosedRun | None = None

    @property
    def run_id(self) -> UUID:
        """The id of its run."""
        return self.plan.run_id


class Members:
    """All members of a generation whose runs were open at its beginning; `unchanged` more had ended by then.

    `changes` grows each time that something has become of one. `statuses` counts the runs that have ended, `errors`
    holds what some of them ended with.
    """

    def __init__(self, plans: Sequence[MemberPlan], *, all_or_nothing: bool = False, unchanged: int = 0) -> None:
        self.changes = 0
        self.statuses: Counter[RunStatus] = Counter({RunStatus.SKIPPED: unchanged})
        self.errors: list[str] = []
        self._all_or_nothing = all_or_nothing
        self._members = [Member(plan, position) for position, plan in enumerate(plans)]
        self._by_run = {one.run_id: one for one in self._members}
        self._by_state: dict[State, dict[UUID, Member]] = {state: {} for state in State}
        self._blocked = [0] * len(self._members)
        self._unfinished: dict[int, int] = {}
        self._of_component: dict[int, list[Member]] = {}
        self._ready: list[int] = []
        self._failed: Member | None = None
        for member in self._members:
            self._by_state[member.state][member.run_id] = member
            for parent in member.plan.parents:
                member.parents.append(self._members[parent])
                self._members[parent].children.append(member)
            self._blocked[member.position] = sum(one.state not in _DONE for one in member.parents)
            component = member.plan.component
            self._of_component.setdefault(component, []).append(member)
            unfinished = member.state not in {State.WRITTEN, State.UNCHANGED}
            self._unfinished[component] = self._unfinished.get(component, 0) + unfinished
            self._offer(member)
        self._complete = [component for component, number in self._unfinished.items() if not number]

    def __len__(self) -> int:
        return len(self._members)

    def have_changed_since(self, changes: int) -> bool:
        """Whether something has become of a member since `changes` was this."""
        return self.changes != changes

    def find(self, run_id: UUID) -> Member | None:
        """The member whose run has this id."""
        return self._by_run.get(run_id)

    def are_written(self) -> bool:
        """Whether no query is to run any more: each member is written or unchanged, or its run has ended."""
        return not any(self._unfinished.values())

    def all_ended(self) -> bool:
        """Whether every run has ended."""
        return len(self._by_state[State.ENDED]) == len(self._members)

    def open(self) -> list[Member]:
        """The members whose run has not ended."""
        return [one for one in self._members if one.state is not State.ENDED]

    def start_ready(self) -> Iterator[Member]:
        """The members that may start now, in the order of the graph. They are querying from then on."""
        while self._ready and len(self._by_state[State.QUERYING]) < MOST_IN_FLIGHT:
            member = self._members[heapq.heappop(self._ready)]
            if member.state is State.WAITING and not self._blocked[member.position]:
                self._move(member, State.QUERYING)
                yield member

    def readers(self, started: Iterable[Member]) -> list[Member]:
        """The members that could start as soon as `started`, and those before them in this list, are done.

        They come in the order of the graph. None of them is querying before `start`.
        """
        together = {one.position for one in started if one.plan.can_share}
        found: list[Member] = []
        free = MOST_IN_FLIGHT - len(self._by_state[State.QUERYING])
        waiting = [child.position for position in together for child in self._members[position].children]
        heapq.heapify(waiting)
        while waiting and len(found) < free:
            member = self._members[heapq.heappop(waiting)]
            is_free = all(one.state in _DONE or one.position in together for one in member.parents)
            if member.position in together or member.state is not State.WAITING or not is_free:
                continue
            if member.plan.can_share:
                together.add(member.position)
                found.append(member)
                for child in member.children:
                    heapq.heappush(waiting, child.position)
        return found

    def start(self, member: Member) -> None:
        """It is querying from now on, or will be once those that it reads are done."""
        self._move(member, State.QUERYING)

    def unwritten_parents(self, member: Member) -> tuple[UUID, ...]:
        """The runs of those that it reads and that are not done."""
        return tuple(one.run_id for one in member.parents if one.state not in _DONE)

    def take(self, member: Member, *, is_changed: bool = True) -> None:
        """Its query has ended well, or need not run, since nothing has changed."""
        if member.is_outdated:
            member.is_outdated = False
            self._move(member, State.WAITING)
        else:
            self._move(member, State.WRITTEN if is_changed else State.UNCHANGED)

    def fail(self, member: Member, end: EndedRun) -> None:
        """Its run is to be closed in this way, and so are those of the members below it, or all if all or nothing."""
        if member.end is None:
            member.end = end
        self._move(member, State.FAILED)
        why = why_skipped(member.plan.name, end.status)
        if member.end.status is not RunStatus.SKIPPED:
            self._failed = self._failed or member
        for below in (
            self.open() if self._all_or_nothing and end.status is not RunStatus.SKIPPED else self._below(member)
        ):
            if below.state in {State.FAILED, State.PUBLISHING, State.ENDED}:
                continue
            below.end = EndedRun(run_id=below.run_id, status=RunStatus.SKIPPED, reason=why)
            if below.state is not State.QUERYING:
                self._move(below, State.FAILED)

    def retry(self, member: Member) -> None:
        """It is to run again."""
        member.is_outdated = False
        self._move(member, State.WAITING)

    def outdate(self, run_ids: Iterable[UUID]) -> None:
        """Have these runs run again: their results do not belong to the others any more."""
        for member in filter(None, map(self.find, run_ids)):
            if member.state in {State.WRITTEN, State.UNCHANGED}:
                self._move(member, State.WAITING)
            elif member.state is State.QUERYING:
                member.is_outdated = True

    def doomed(self) -> list[Member]:
        """The members whose query runs for nothing."""
        return [one for one in self._by_state[State.QUERYING].values() if one.end is not None]

    def to_close(self) -> tuple[EndedRun, ...]:
        """How the runs of members are to be closed that fail."""
        return tuple(one.end for one in self._by_state[State.FAILED].values() if one.end is not None)

    def has_publishable(self) -> bool:
        """Whether there may be something for `take_publishable` to take."""
        return bool(self._complete) and not self._is_held_back()

    def take_publishable(self) -> tuple[UUID, ...]:
        """The runs whose results can become visible now: components of which every member has ended its query."""
        if self._is_held_back():
            return ()
        complete, self._complete = self._complete, []
        found = [
            one
            for component in dict.fromkeys(complete)  # one that was outdated is complete twice
            if not self._unfinished[component]
            for one in self._of_component[component]
            if one.state in {State.WRITTEN, State.UNCHANGED}
        ]
        for member in found:
            self._move(member, State.PUBLISHING)
        return tuple(one.run_id for one in found)

    def end(self, run: ClosedRun) -> None:
        """Its run has ended."""
        member = self.find(run.run_id)
        if member is not None:
            member.outcome = run
            self.statuses[run.status] += 1
            if run.error and len(self.errors) < _SHOWN:
                self.errors.append(f"{member.plan.name}: {run.error}")
            self._move(member, State.ENDED)

    def shown(self) -> dict[str, tuple[int, list[str]]]:
        """The number of members in each state, in words, and the names of some."""
        return {
            state.value: (len(some), [one.plan.name for one in islice(some.values(), _SHOWN)])
            for state, some in self._by_state.items()
            if some
        }

    def _is_held_back(self) -> bool:
        return self._all_or_nothing and (self._failed is not None or any(self._unfinished.values()))

    def _move(self, member: Member, state: State) -> None:
        before, member.state = member.state, state
        if before is state:
            return
        self.changes += 1
        del self._by_state[before][member.run_id]
        self._by_state[state][member.run_id] = member
        was_done, is_done = before in _DONE, state in _DONE
        if was_done is not is_done:
            for child in member.children:
                self._blocked[child.position] += -1 if is_done else 1
                self._offer(child)
        component = member.plan.component
        self._unfinished[component] += _is_unfinished(state) - _is_unfinished(before)
        if not self._unfinished[component]:
            self._complete.append(component)
        self._offer(member)

    def _offer(self, member: Member) -> None:
        if member.state is State.WAITING and not self._blocked[member.position]:
            heapq.heappush(self._ready, member.position)

    def _below(self, member: Member) -> Iterator[Member]:
        seen = {member.run_id}
        waiting = [member]
        while waiting:
            for child in waiting.pop().children:
                if child.run_id not in seen:
                    seen.add(child.run_id)
                    waiting.append(child)
                    yield child


def _is_unfinished(state: State) -> int:
    return int(state in {State.WAITING, State.QUERYING, State.FAILED})
