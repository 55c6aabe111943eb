"""Text from outside, where it is shown to people."""

import json
import sys
import unicodedata

import pytest

from orchestrator.model.printable import code, json_text, lines, one_line

KEPT = {"\u00ad", "\u200c", "\u200d"}  # a soft hyphen, and the joiners that Persian and emoji need
ODD = [
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in KEPT
]


def test_nothing_is_left_that_controls_directs_or_hides_text() -> None:
    assert one_line("".join(ODD)).isprintable()
    assert one_line("a\nb\tc\x1b[0m\u202e\U000e0041") == r"a\nb\tc\x1b[0m\u202e\U000e0041"


def test_everything_else_is_as_it_was() -> None:
    plain = "für später, 数据, می‌خواهم, 👩‍👩‍👧, a\\nb, \u00a0, \u00ad"
    assert (one_line(plain), lines(f"{plain}\n\t{plain}")) == (plain, f"{plain}\n\t{plain}")


def test_lines_keep_their_breaks_and_no_other_break_of_a_line() -> None:
    assert lines("a\r\nb\x0bc\x85d\u2028e") == "a\\r\nb\\x0bc\\x85d\\u2028e"


def test_json_has_the_same_value() -> None:
    value = {"text": "|".join(ODD), "plain": "für \U0001f600"}
    for raw in (json.dumps(value, ensure_ascii=False, indent=2), json.dumps(value)):
        shown = json_text(raw)
        assert json.loads(shown) == value
        assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "`plain`"),
        ("a`b", "`` a`b ``"),
        ("a``](http://evil.example) ![x](http://evil.example/x.png) <img src=x>", None),
        ("```", "```` ``` ````"),
        ("a\n\n# b", r"`a\n\n# b`"),
        ("", "`  `"),
    ],
)
def test_a_span_of_code_ends_where_it_is_to_end(text: str, shown: str | None) -> None:
    found = code(text)
    assert shown is None or found == shown
    fence = found[: len(found) - len(found.lstrip("`"))]
    inside = found[len(fence) : -len(fence)]
    assert found.endswith(fence)
    assert fence not in {run for run in inside.split() if set(run) == {"`"}}
    assert "\n" not in found


def test_long_text_takes_no_longer_for_its_length() -> None:
    assert len(one_line("\x1b" * 1_000_000)) == 4_000_000
    assert code("`" * 100_000).count("`") == 300_002
