"""The bugs that `make planted` plants: each can be planted into the code as it is."""

from pathlib import Path

import pytest

from chaos.planted import BUGS, Bug

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_a_bug_has_its_place_in_the_code_once(bug: Bug) -> None:
    for file, right, wrong in bug.changes:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert source.count(right) == 1
        compile(source.replace(right, wrong), file, "exec")
    assert not bug.test or (ROOT / bug.test).is_file()
