"""The folder of a stack."""

from pathlib import Path

import pytest

from orchestrator.devstack.home import Home, StackError


def test_a_folder_that_cannot_be_used_is_let_go_again(home: Path) -> None:
    home.mkdir()
    (home / "logs").write_text("in the way")
    with pytest.raises(StackError, match=f"^{home}/logs cannot be used: File exists$"):
        Home(home).claim()
    (home / "logs").unlink()
    again = Home(home)
    again.claim()
    again.release()
