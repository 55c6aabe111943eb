"""The tree of errors."""

from collections.abc import Iterator

from orchestrator.model import errors
from orchestrator.model.errors import OrchestratorError, Terminal, Transient


def leaves(cls: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    for child in cls.__subclasses__():
        yield child
        yield from leaves(child)


OURS = [cls for cls in leaves(OrchestratorError) if cls.__module__ == errors.__name__]


def test_every_error_is_either_terminal_or_transient() -> None:
    assert all(issubclass(cls, Terminal) != issubclass(cls, Transient) for cls in OURS)


def test_every_error_has_a_code_of_its_own_and_a_message_for_people() -> None:
    assert len({cls.code for cls in OURS}) == len(OURS)
    assert all(cls().message.endswith(".") for cls in OURS)


def test_codes_are_a_wire_format() -> None:
    assert errors.NotFound.code == "not_found"
    assert errors.QueryTimedOut.code == "query_timed_out"
