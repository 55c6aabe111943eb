"""The page of settings, which `make docs` writes from the code, is up to date."""

import pytest

from docs.settings import PAGE, page
from orchestrator.settings import Settings


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert PAGE.read_text() == page(), "type `make docs`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_says_what_it_is(name: str) -> None:
    assert Settings.model_fields[name].description
