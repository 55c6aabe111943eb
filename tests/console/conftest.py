"""A browser for the whole session, and a folder for pictures."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.console.support import PROGRAM, a_browser


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's chromium."""
    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no chromium: the console would not be tested")
        pytest.skip("no chromium: install it (on Debian: apt install chromium)")
    async with a_browser() as started:
        yield started


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept: below MATVIEW_PICTURES, if that is set."""
    folder = Path(os.environ.get("MATVIEW_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
