"""Which views a change of definitions makes it necessary to refresh."""

from collections.abc import Iterable

from orchestrator.model.change_plan import PlannedRun
from orchestrator.services.change_proposal import Proposal
from orchestrator.services.definition_changes import only_labels

_NEW, _CHANGED, _EDITED = "new", "changed", "not run since its last edit"
_TABLE, _READS = "reads a changed table", "reads a view that runs"


def planned_runs(proposal: Proposal) -> Iterable[PlannedRun]:
    """The materialized views to refresh, those first that read no other of them."""
    found, graph = proposal.differences, proposal.graph
    reasons: dict[str, str] = {}
    for key in filter(proposal.is_materialized, graph.reads):
        reason = _own_reason(proposal, key)
        if reason is not None:
            reasons[key] = reason
    for key in filter(proposal.is_materialized, graph.below(_changed_tables(proposal))):
        reasons.setdefault(key, _TABLE)
    plain = [key for key in found.queries if proposal.is_plain(key)]
    for key in filter(proposal.is_materialized, graph.below([*reasons, *plain])):
        reasons.setdefault(key, _READS)
    for key, level in graph.levels(reasons).items():
        seconds = proposal.stored.views[key].last_seconds if key in proposal.stored.views else None
        values = {"name": proposal.name(key), "level": level, "reason": reasons[key], "last_seconds": seconds}
        yield PlannedRun.model_validate(values)


def _changed_tables(proposal: Proposal) -> set[str]:
    return {key for key, fields in proposal.differences.table_fields.items() if not only_labels(fields)}


def _own_reason(proposal: Proposal, key: str) -> str | None:
    """Why the view itself has to run, apart from what it reads."""
    old = proposal.stored.views.get(key)
    if old is None or not old.definition.is_materialized:
        return _NEW
    if "query" in proposal.differences.view_fields.get(key, ()):
        return _CHANGED
    return _EDITED if old.ran_revision_id != old.revision_id else None
