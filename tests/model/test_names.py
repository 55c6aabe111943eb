"""The rules for names."""

import pytest

from orchestrator.model.errors import InvalidName
from orchestrator.model.names import check_name, fold, name_key


@pytest.mark.parametrize("name", ["events", "_x", "$x", "a.b_1$", "a.b.c", "x" * 128, "System", "information_schema_x"])
def test_a_name_of_letters_digits_underscores_dots_and_dollars_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "1abc", "a-b", "a b", "a..b", "a.", ".a", "ä", "a\n", "a;b", 'a"b'])
def test_any_other_name_is_refused_in_posthogs_words(name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        check_name(name)
    assert refused.value.message == (
        f"{name} is not a valid view name. View names can only contain letters, numbers, '_', '.', or '$'."
    )
    assert refused.value.attr == "name"


def test_a_name_of_more_than_128_characters_is_refused() -> None:
    with pytest.raises(InvalidName, match="no more than 128 characters"):
        check_name("x" * 129)


@pytest.mark.parametrize(
    "name", ["system.x", "information_schema.tables", "SYSTEM.x", "main.x", "temp.x", "x.pg_catalog.y"]
)
def test_reserved_namespaces_are_refused(name: str) -> None:
    with pytest.raises(InvalidName, match="is reserved"):
        check_name(name)


def test_names_that_differ_only_in_case_are_the_same_name() -> None:
    assert name_key("Events.By_Day") == name_key("events.by_DAY")


@pytest.mark.parametrize(("one", "other"), [("ä", "Ä"), ("k", "\u212a"), ("i\u0307", "İ"), ("ß", "ẞ"), ("ﬁ", "FI")])
def test_letters_beyond_a_to_z_are_the_same_only_if_they_are(one: str, other: str) -> None:
    assert fold(one) != fold(other)
    assert fold(one) == one


def test_letters_from_a_to_z_are_folded_beside_others() -> None:
    assert fold("STRAßE.Ä") == "straße.Ä"
