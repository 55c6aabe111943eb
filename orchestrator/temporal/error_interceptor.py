"""Our errors in Temporal's words, in one place."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orchestrator.model.errors import OrchestratorError, Terminal
from orchestrator.model.printable import lines


class ErrorInterceptor(Interceptor):
    """Gives every OrchestratorError that leaves an activity its code as failure type, and its branch as retryability.

    Raised bare, an error of ours would be retried whatever it says.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the calls of every activity."""
        return _Translator(next)


class _Translator(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        try:
            return await super().execute_activity(input)
        except OrchestratorError as error:
            # Halves of surrogate pairs, as in the name of a file that is not UTF-8, cannot be sent at all.
            raise ApplicationError(
                lines(error.message), type=error.code, non_retryable=isinstance(error, Terminal)
            ) from error
