"""The parts of an error that are written into Temporal's history, where operators read them."""

import re

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError

from orchestrator.temporal import contract
from orchestrator.temporal.failure_converter import CONVERTER


def written(error: ApplicationError) -> Failure:
    error.__cause__ = KeyError("where it went wrong")
    try:
        raise error
    except ApplicationError as raised:
        failure = Failure()
        CONVERTER.failure_converter.to_failure(raised, CONVERTER.payload_converter, failure)
        return failure


def test_a_foreseen_error_is_its_message_alone() -> None:
    failure = written(ApplicationError("the number is odd", type="query_failed", non_retryable=True))
    assert failure.message == "the number is odd"
    assert failure.stack_trace == ""
    assert not failure.HasField("cause")


@pytest.mark.parametrize("kind", [None, contract.UNEXPECTED_ERROR])
def test_an_error_that_nobody_foresaw_keeps_its_stack_trace_and_its_cause(kind: str | None) -> None:
    failure = written(ApplicationError("boom", type=kind, non_retryable=True))
    assert __file__ in failure.stack_trace
    assert "where it went wrong" in failure.cause.message


def test_the_text_of_an_error_cannot_steer_a_terminal() -> None:
    failure = written(ApplicationError("a\x1b[2J\x00\u202eb\nc", type="query_failed", non_retryable=True))
    assert failure.message == "a\\x1b[2J\\x00\\u202eb\nc"
    unforeseen = written(ApplicationError("a\x9bb", type=None))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", unforeseen.message + unforeseen.stack_trace)
