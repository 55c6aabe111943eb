"""Converts exceptions into the failures in Temporal's history."""

from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from orchestrator.model.printable import lines
from orchestrator.temporal import contract


class PlainFailureConverter(DefaultFailureConverter):
    """Writes an expected error as its message alone.

    The message says what is wrong; a stack trace of this program would only hide it in the UI. An unexpected error
    keeps its stack trace.
    """

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """See FailureConverter."""
        super().to_failure(exception, payload_converter, failure)
        # The text may quote a query or data, and logs, the UI and Temporal's command line print it: no control
        # character in it may take effect there.
        failure.message, failure.stack_trace = lines(failure.message), lines(failure.stack_trace)
        if not isinstance(exception, ApplicationError) or exception.failure is not None:
            return
        if exception.type and exception.type != contract.UNEXPECTED_ERROR:
            failure.stack_trace = ""
            if exception.non_retryable:
                failure.ClearField("cause")


CONVERTER = pydantic_data_converter.__class__(
    payload_converter_class=pydantic_data_converter.payload_converter_class,
    failure_converter_class=PlainFailureConverter,
)
