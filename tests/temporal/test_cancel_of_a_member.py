"""The cancel of one view of a generation, while no worker takes it."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from orchestrator.model.generation import GenerationRequest
from orchestrator.model.run import RunRef
from orchestrator.temporal import contract, run_workflows
from orchestrator.temporal.run_workflows import RunWorkflows


async def test_a_cancel_that_no_worker_takes_in_time_is_stored(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_workflows, "UPDATE_TIMEOUT", timedelta(seconds=1))
    generation = uuid4()
    handle = await temporal.start_workflow(
        contract.REFRESH,
        GenerationRequest(generation_id=generation, project_id=1),
        id=f"refresh/1/{generation}",
        task_queue=f"unpolled-{generation}",
    )
    member = RunRef(id=uuid4(), workflow_id=handle.id, workflow_run_id=UUID(handle.first_execution_run_id))
    try:
        await RunWorkflows(temporal).cancel(member)
        signals = [
            event.workflow_execution_signaled_event_attributes
            async for event in handle.fetch_history_events()
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]
    finally:
        await handle.terminate()
    assert [(one.signal_name, one.input.payloads[0].data) for one in signals] == [
        (contract.STOP_MEMBER, f'"{member.id}"'.encode())
    ]
