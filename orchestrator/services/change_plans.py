"""Plans of changes: what a change of a project's definitions would do, without doing it."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from orchestrator.catalog import definitions
from orchestrator.catalog.database import Database, as_of_one_moment
from orchestrator.catalog.definitions import StoredDefinitions
from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer, StudiedQuery
from orchestrator.model.change_plan import BrokenReader, ChangePlan, Kind, PlannedChange, Problem
from orchestrator.model.column_changes import ColumnChanges
from orchestrator.model.definitions import Change, TableDefinition
from orchestrator.model.engine import Dialect, QueryText
from orchestrator.model.errors import Invalid, InvalidQuery, ReadersBreak
from orchestrator.model.file_patterns import is_remote_pattern
from orchestrator.model.names import name_key
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import DescribedSource
from orchestrator.services.change_binding import Binding, bind, broken, column_changes, to_store, unbound
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.change_runs import planned_runs
from orchestrator.services.change_translation import translate_each
from orchestrator.services.check_binding import CheckBinder, Place
from orchestrator.services.check_changes import NO_CHECKS
from orchestrator.services.cluster_statements import cluster_of
from orchestrator.services.column_binding import ColumnBinder
from orchestrator.services.definition_changes import Differences, compare, only_labels
from orchestrator.services.query_analysis import checked, checked_weight
from orchestrator.services.studied_statements import study_each, with_name_explained
from orchestrator.services.table_credentials import TableCredentials

# Each reads files in a process of its own.
_TABLES_AT_ONCE = 2
_SHOWN = 10
_ALL_THE_SAME = "Change them with it, or set break_dependents (--break-dependents) to make it all the same."
# They are written one by one, in a transaction that may take 20 seconds. Two thousand take ten.
_MOST_ALTERED = 2_000

Studied = Mapping[str, StudiedQuery]
Described = dict[str, DescribedSource]


class Proposed(NamedTuple):
    """A change that is not bound yet: what was read of files and of statements for it, and the problems so far."""

    proposal: Proposal
    described: Described
    studied: Studied
    problems: list[Problem]


class Prepared(NamedTuple):
    """A change that can be made, unless its plan says otherwise.

    `columns` are to be stored of views, and `tables` has what the files of those tables hold that were read.
    `check_reads` has the names that checks read, by the key of the view and the place of the check. `translated` are
    the statements of views that a cluster runs.
    """

    plan: ChangePlan
    proposal: Proposal
    columns: Mapping[str, tuple[Column, ...]]
    tables: Mapping[str, DescribedSource]
    check_reads: Mapping[Place, tuple[str, ...]]
    translated: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class ChangePlanner:
    """Plans the changes of every project."""

    database: Database
    engine: QueryAnalyzer
    binder: ColumnBinder
    credentials: TableCredentials
    cluster: ClusterAnalyzer | None = None

    async def plan(self, project_id: int, change: Change) -> ChangePlan:
        """Plan a change."""
        return (await self.prepare(project_id, change)).plan

    async def load(self, project_id: int) -> StoredDefinitions:
        """The definitions of a project as they are."""
        async with self.database.begin() as tx:
            await as_of_one_moment(tx)
            return await definitions.load(tx, project_id)

    async def prepare(
        self, project_id: int, change: Change, read: Mapping[str, tuple[Column, ...]] | None = None
    ) -> Prepared:
        """Plan a change and keep what making it needs. `read` has columns of tables that were read already."""
        proposal, described, studied, problems = await self.propose(project_id, change, read)
        stored, found = proposal.stored, proposal.differences
        cycle = proposal.graph.cycle()
        if cycle is not None:
            message = f"Model contains a cycle: {' -> '.join(map(proposal.name, cycle))}"
            problems.append(Problem(kind=Kind.VIEW, name=proposal.name(cycle[0]), message=message))
            plan = ChangePlan(base=stored.base, unchanged=found.unchanged, problems=tuple(problems))
            return Prepared(plan, proposal, {}, described, {})
        binding = await bind(self.binder, project_id, proposal)
        unread = {key for key in found.tables if key not in proposal.table_columns}
        # One whose text was not understood has that as its problem.
        errors = {key: one for key, one in unbound(proposal, binding, unread).items() if key in studied}
        for key, error in errors.items():
            sql = proposal.definition(key).sql
            problems.append(
                proposal.problem(key, await with_name_explained(self.engine, project_id, proposal, sql, error))
            )
        problems += await self._weigh(project_id, proposal)
        unsaid = [key for key in found.queries if key in studied and key not in errors]
        translated = await translate_each(
            self.cluster, project_id, proposal, bound=binding.after, keys=unsaid, problems=problems
        )
        unstudied = {*found.queries} - studied.keys()
        checks = await CheckBinder(self.engine, self.binder).bind(project_id, proposal, {*errors, *unread, *unstudied})
        problems += checks.problems
        plan = ChangePlan(
            base=stored.base,
            changes=tuple(await self._changes(project_id, proposal, binding, studied)),
            unchanged=found.unchanged,
            problems=tuple(problems),
            broken=tuple(broken(proposal, binding)),
            runs=tuple(planned_runs(proposal)),
        )
        return Prepared(plan, proposal, to_store(proposal, binding), described, checks.reads, translated)

    async def propose(
        self, project_id: int, change: Change, read: Mapping[str, tuple[Column, ...]] | None = None
    ) -> Proposed:
        """Lay a change beside what the project has, without binding it. `read` is as in `prepare`."""
        stored = await self.load(project_id)
        found = compare(stored, change, read or ())
        altered = len(found.view_fields) + len(found.deleted_views)
        if altered > _MOST_ALTERED:
            raise Invalid(
                f"This changes or deletes {altered:,} views; {_MOST_ALTERED:,} are the most at a time. New views do "
                "not count. Leave some of them out, and apply them in a second step.",
                attr="definitions",
            )
        problems = list(found.problems)
        described = await self._describe(project_id, found, problems, known=read or {})
        known = {key: stored.tables[key].columns for key in found.tables if key in stored.tables}
        tables = known | {key: one.columns for key, one in described.items()} | dict(read or {})
        studied = await self._study(project_id, found, problems)
        reads = {key: tuple(map(name_key, one.references)) for key, one in studied.items()}
        return Proposed(Proposal(stored, found, reads, tables), described, studied, problems)

    async def _describe(
        self,
        project_id: int,
        found: Differences,
        problems: list[Problem],
        *,
        known: Mapping[str, tuple[Column, ...]],
    ) -> Described:
        """The files of the tables that change, and whose columns are not known."""
        slots = asyncio.Semaphore(_TABLES_AT_ONCE)

        async def describe(table: TableDefinition) -> DescribedSource | None:
            try:
                async with slots:
                    credential = None
                    if is_remote_pattern(table.url_pattern):
                        credential = await self.credentials.named(project_id, table.name, table.url_pattern)
                    return await self.engine.inspect_source(
                        table.url_pattern,
                        table.format,
                        table.options,
                        table.stated,
                        credential=credential,
                        project_id=project_id,
                    )
            except Invalid as error:
                problems.append(Problem(kind=Kind.TABLE, name=table.name, message=error.message))
                return None

        renamed = {key for key, fields in found.table_fields.items() if only_labels(fields)}
        asked = {key: table for key, table in found.tables.items() if key not in renamed and key not in known}
        answers = await asyncio.gather(*map(describe, asked.values()))
        return {key: one for key, one in zip(asked, answers, strict=True) if one is not None}

    async def _study(self, project_id: int, found: Differences, problems: list[Problem]) -> dict[str, StudiedQuery]:
        """Study the statements that are new or differ."""
        asked: list[str] = []
        for key in found.queries:
            try:
                await checked(found.views[key].query)
                asked.append(key)
            except Invalid as error:
                problems.append(_problem(found, key, error))
        studied: dict[str, StudiedQuery] = {}
        answers = await self._study_texts(project_id, {key: found.views[key].text for key in asked})
        for key, answer in answers.items():
            if isinstance(answer, InvalidQuery):
                problems.append(_problem(found, key, answer))
            else:
                studied[key] = answer
        return studied

    async def _study_texts(
        self, project_id: int, texts: Mapping[str, QueryText]
    ) -> dict[str, StudiedQuery | InvalidQuery]:
        """Study each text in its own dialect. One that may have no cluster has that as its error."""
        own = {key: text.sql for key, text in texts.items() if text.dialect is Dialect.DUCKDB}
        answers = await study_each(self.engine, project_id, own)
        for key, text in texts.items():
            try:
                cluster = cluster_of(self.cluster, text, project_id)
                if cluster is not None and text.dialect is Dialect.SPARK:
                    answers |= await study_each(cluster, project_id, {key: text.sql})
            except InvalidQuery as error:
                answers[key] = error
        return answers

    async def _weigh(self, project_id: int, proposal: Proposal) -> list[Problem]:
        """The views that change and would be too large with all that is evaluated inside them."""
        problems: list[Problem] = []
        for key in proposal.reads:
            if proposal.definition(key).text.dialect is Dialect.SPARK:
                continue
            inlined: dict[str, str] = {}
            waiting = list(proposal.graph.reads[key])
            while waiting:
                one = waiting.pop()
                if proposal.is_plain(one) and one not in inlined:
                    if proposal.definition(one).text.dialect is Dialect.SPARK:
                        continue
                    inlined[one] = proposal.definition(one).sql
                    waiting += proposal.graph.reads[one]
            if inlined:
                try:
                    await checked_weight(self.engine, project_id, proposal.definition(key).sql, inlined)
                except InvalidQuery as error:
                    problems.append(proposal.problem(key, error))
        return problems

    async def _changes(
        self, project_id: int, proposal: Proposal, binding: Binding, studied: Studied
    ) -> list[PlannedChange]:
        stored = proposal.stored
        texts = {key: stored.views[key].definition.text for key in studied if key in stored.views}
        old = {key: text.sql for key, text in texts.items()}
        before = await self._study_texts(project_id, texts)
        changes: list[PlannedChange] = []
        for one in proposal.differences.planned(stored):
            key = name_key(one.name)
            checks = tuple(proposal.differences.checks.get(key, NO_CHECKS).planned())
            if one.kind is Kind.TABLE:
                known = stored.tables[key].columns if key in stored.tables else ()
                columns = ColumnChanges.between(known, proposal.table_columns.get(key, ()))
                changes.append(one.model_copy(update={"columns": columns, "checks": checks}))
                continue
            more: dict[str, object] = {"columns": column_changes(proposal, binding, key), "checks": checks}
            if "query" in one.fields:
                same = key in studied and getattr(before.get(key), "digest", None) == studied[key].digest
                same = same and texts[key].engine is proposal.definition(key).text.engine
                more |= {"before": old.get(key), "after": proposal.definition(key).sql, "text_only": same}
            changes.append(one.model_copy(update=more))
        return changes


def _problem(found: Differences, key: str, error: Invalid) -> Problem:
    return Problem(kind=Kind.VIEW, name=found.views[key].name, message=error.message, position=error.position)


def refusal(plan: ChangePlan, *, break_dependents: bool) -> Invalid | None:
    """Why the change of a plan is not made, as one error; None if it can be."""
    if plan.problems:
        shown = [f"{one.kind.value} {one.name}: {one.message}" for one in plan.problems[:_SHOWN]]
        more = [f"and {len(plan.problems) - _SHOWN:,} more"] if len(plan.problems) > _SHOWN else []
        return Invalid("\n".join(["Nothing was changed.", *shown, *more]), attr="definitions")
    return None if break_dependents or not plan.broken else readers_break(plan.broken)


def readers_break(some: Iterable[BrokenReader]) -> ReadersBreak:
    """The error for a change that breaks views which it does not mention."""
    shown = [f"{one.name} (reads {', '.join(one.reads)}): {one.message}" for one in some]
    lines = ["This change breaks views that read what it changes:", *shown[:_SHOWN]]
    return ReadersBreak("\n".join([*lines, _ALL_THE_SAME]))
