import json

import pytest

from tests.architecture.wire import SNAPSHOT, wire

STORED = json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    return wire()


@pytest.mark.parametrize("part", sorted(STORED))
def test_what_others_know_by_name_is_named_as_before(found: dict[str, object], part: str) -> None:
    """A name that is to change for clients too is changed by `python -m tests.architecture.wire`, in its own commit."""
    assert found[part] == STORED[part]


def test_every_part_is_held(found: dict[str, object]) -> None:
    assert sorted(found) == sorted(STORED)
    assert all(STORED.values())
