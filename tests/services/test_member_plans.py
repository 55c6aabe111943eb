"""The members of a generation as its workflow needs them."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from orchestrator.catalog.run_plans import StoredPlan
from orchestrator.model.base import now
from orchestrator.model.check import CheckResult, CheckStatus, Severity
from orchestrator.model.generation import MemberPhase
from orchestrator.model.run import MemberRelation, Relation, RunPlan, SourceRelation, Trigger
from orchestrator.model.snapshot import Snapshot
from orchestrator.model.source_table import SourceFormat
from orchestrator.services.member_plans import components, levels, member_plans

TABLE = SourceRelation(name="t", id=uuid4(), format=SourceFormat.PARQUET, url_pattern="/t.parquet", columns=())


def plan(name: str, relations: Sequence[Relation] = (), read_by_checks: Sequence[Relation] = ()) -> RunPlan:
    return RunPlan(
        run_id=uuid4(),
        generation_id=uuid4(),
        project_id=1,
        saved_query_id=uuid4(),
        revision_id=uuid4(),
        name=name,
        sql="SELECT 1",
        relations=tuple(relations),
        check_relations=tuple(read_by_checks),
        timeout_seconds=1,
        trigger=Trigger.API,
    )


def test_views_are_published_together_if_their_checks_read_one_source_table() -> None:
    # Were it pinned again, each of them would run again.
    query, checked, beside = plan("query", [TABLE]), plan("checked", [], [TABLE]), plan("beside")
    found = components([query, checked, beside])
    assert found[query.run_id] == found[checked.run_id] != found[beside.run_id]


def test_each_level_reads_only_levels_before_it_and_plans_of_others() -> None:
    top, other = plan("top"), plan("other")
    middle = reading(plan("middle"), top, plan("of another generation"))
    bottom = reading(plan("bottom"), middle, other)
    found = [{one.name for one in level} for level in levels([bottom, middle, other, top])]
    assert found == [{"top", "other"}, {"middle"}, {"bottom"}]


def reading(one: RunPlan, *others: RunPlan) -> RunPlan:
    members = tuple(MemberRelation(run_id=other.run_id, name=other.name, current=None) for other in others)
    return one.model_copy(update={"members": members})


def written(one: RunPlan) -> Snapshot:
    return Snapshot(
        id=uuid4(),
        run_id=one.run_id,
        saved_query_id=one.saved_query_id,
        revision_id=one.revision_id,
        attempt=1,
        location="",
        files=(),
        rows=1,
        bytes=1,
        columns=(),
        inputs=(),
        engine_version="",
        created_at=now(),
    )


def result(severity: Severity) -> CheckResult:
    return CheckResult(check_id=UUID(int=1), label="c", severity=severity, status=CheckStatus.FAILED, failing_rows=1)


def test_a_result_that_its_checks_keep_back_is_not_written_for_a_workflow_that_begins_again() -> None:
    some = [plan("passed"), plan("warned"), plan("blocked")]
    checks = [(), (result(Severity.WARN),), (result(Severity.ERROR),)]
    stored = [StoredPlan(one, 0, written(one), None, None, made) for one, made in zip(some, checks, strict=True)]
    found = {one.name: one.phase for one in member_plans(stored)}
    expected = {"passed": MemberPhase.WRITTEN, "warned": MemberPhase.WRITTEN, "blocked": MemberPhase.WAITING}
    assert found == expected
