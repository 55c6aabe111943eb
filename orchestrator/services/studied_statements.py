"""Statements of a change that is planned: the names that they read, and names that are not known."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import TypeVar

from orchestrator.engines.base import ClusterAnalyzer, QueryAnalyzer, StudiedQuery
from orchestrator.model.batches import batches
from orchestrator.model.column_limits import MOST_INPUTS
from orchestrator.model.errors import InvalidQuery
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.unknown_names import UnknownName, explained

K = TypeVar("K", bound=Hashable)

_AT_ONCE = 100


async def study_each(
    engine: QueryAnalyzer | ClusterAnalyzer, project_id: int, statements: Mapping[K, str]
) -> dict[K, StudiedQuery | InvalidQuery]:
    """The names that each statement reads, and the digest of its syntax, or its error."""
    answers: dict[K, StudiedQuery | InvalidQuery] = {}
    for some in batches([*statements], _AT_ONCE):
        texts = [statements[key] for key in some]
        answers |= zip(some, await engine.study_each(texts, project_id=project_id), strict=True)
    too_many = InvalidQuery(f"Invalid query: a view may read {MOST_INPUTS:,} views and tables.")
    return {
        key: too_many if isinstance(one, StudiedQuery) and len(one.references) > MOST_INPUTS else one
        for key, one in answers.items()
    }


async def with_name_explained(
    engine: QueryAnalyzer, project_id: int, proposal: Proposal, sql: str, error: InvalidQuery
) -> InvalidQuery:
    """The error of a statement, with the place of a name that is not known, and the name that was meant."""
    if not isinstance(error, UnknownName):
        return error
    names = {*proposal.graph.reads, *proposal.stored.tables, *proposal.differences.tables}
    find = partial(engine.find_name, sql, project_id=project_id)
    found = await explained(error, [proposal.name(one) for one in names], find)
    return found.changed(f"Invalid query: {found.message}")
