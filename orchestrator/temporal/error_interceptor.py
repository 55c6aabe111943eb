"""Translates the errors of activities into Temporal's ApplicationError."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from orchestrator.model.errors import OrchestratorError, Terminal
from orchestrator.model.printable import lines


class ErrorInterceptor(Interceptor):
    """Turns an OrchestratorError that an activity raises into an ApplicationError whose type is its code.

    A Terminal error becomes non-retryable. Untranslated, Temporal would retry it.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the calls of every activity."""
        return _Translator(next)


class _Translator(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        try:
            return await super().execute_activity(input)
        except OrchestratorError as error:
            raise translated(error) from error


def translated(error: OrchestratorError) -> ApplicationError:
    """The error as an activity raises it. Trying again does not help against a Terminal one."""
    # Temporal cannot send halves of surrogate pairs, as in the name of a file that is not UTF-8.
    return ApplicationError(lines(error.message), type=error.code, non_retryable=isinstance(error, Terminal))
