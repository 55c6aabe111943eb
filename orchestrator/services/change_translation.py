"""The statements of those views of a planned change that a cluster runs."""

from collections.abc import Iterable, Iterator, Mapping

from orchestrator.engines.base import ClusterAnalyzer
from orchestrator.model.change_plan import Problem
from orchestrator.model.engine import Dialect, Engine
from orchestrator.model.errors import InvalidQuery
from orchestrator.model.snapshot import Column
from orchestrator.model.source_table import is_plain_parquet
from orchestrator.services.change_binding import tables_after
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.cluster_statements import unreadable
from orchestrator.services.column_binding import Bound


async def translate_each(
    cluster: ClusterAnalyzer | None,
    project_id: int,
    proposal: Proposal,
    *,
    bound: Mapping[str, Bound],
    keys: Iterable[str],
    problems: list[Problem],
) -> dict[str, str]:
    """The statements for the cluster of those of the views that it runs. One that it cannot run is a problem.

    `bound` has the columns of the views after the change.
    """
    found: dict[str, str] = {}
    for key in keys:
        text = proposal.definition(key).text
        if cluster is None or text.engine is not Engine.SPARK:
            continue
        own = bound.get(key)
        columns = None if text.dialect is Dialect.SPARK or isinstance(own, InvalidQuery) else own
        tables = dict(_inputs(proposal, bound, key))
        try:
            _refuse_unreadable(proposal, key)
            found[key] = (await cluster.analyze(text, tables, columns, project_id=project_id)).sql
        except InvalidQuery as error:
            problems.append(proposal.problem(key, error))
    return found


def _inputs(proposal: Proposal, bound: Mapping[str, Bound], key: str) -> Iterator[tuple[str, tuple[Column, ...]]]:
    """The names and the columns of what the view reads."""
    tables = tables_after(proposal)
    for one in proposal.graph.reads[key]:
        columns = bound.get(one)
        if one in tables:
            yield tables[one].name, tables[one].columns
        elif columns is not None and not isinstance(columns, InvalidQuery):
            yield proposal.name(one), columns


def _refuse_unreadable(proposal: Proposal, key: str) -> None:
    """Raise InvalidQuery for a source table that the view reads, also through views without a result."""
    waiting, seen = [*proposal.graph.reads[key]], set[str]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if proposal.is_plain(one):
            waiting += proposal.graph.reads[one]
        elif one not in proposal.graph.reads:
            stored = proposal.stored.tables.get(one)
            table = proposal.differences.tables.get(one) or (stored.definition if stored else None)
            if table is not None and not is_plain_parquet(table.url_pattern, table.format, table.options, table.stated):
                raise unreadable(table.name)
