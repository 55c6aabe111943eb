"""The place of an error as a person sees it."""

import pytest

from orchestrator.model.position import moved, position_at, position_at_byte


@pytest.mark.parametrize(
    ("text", "index", "line", "column", "length"),
    [("", 0, 1, 1, 1), ("ab cd", 3, 1, 4, 2), ("a\r\nbc", 3, 2, 1, 2), ("a\n", 2, 2, 1, 1), ("a\nb", 99, 2, 2, 1)],
)
def test_lines_and_columns_count_from_one(text: str, index: int, line: int, column: int, length: int) -> None:
    found = position_at(text, index)
    assert (found.line, found.column, found.length) == (line, column, length)


def test_a_byte_inside_of_a_character_is_at_that_character() -> None:
    assert position_at_byte("éa", 2).column == 2
    assert position_at_byte("éa", 1).column == 1


def test_the_caret_stands_below_the_place_also_behind_wide_and_unsafe_characters() -> None:
    assert position_at("\tSELECT x", 8).marked == " SELECT x\n        ^"
    assert position_at("漢 x", 2).marked == "漢 x\n   ^"
    assert position_at("\x1b[31mx", 5).marked == "\\x1b[31mx\n        ^"


def test_a_long_line_is_cut_on_both_sides() -> None:
    found = position_at("a" * 1_000 + "b" + "c" * 1_000, 1_000)
    assert found.excerpt.startswith("…a")
    assert found.excerpt.endswith("c…")
    assert found.excerpt[found.excerpt_column - 1] == "b"


def test_a_place_is_carried_over_to_the_text_that_a_client_wrote() -> None:
    run, written = "SELECT  $x , y", "SELECT {x}, y"
    place = moved(position_at(run, run.index("y")), run, written)
    assert place is not None
    assert place.column == written.index("y") + 1
    assert moved(position_at(run, run.index("$")), run, written) is None
