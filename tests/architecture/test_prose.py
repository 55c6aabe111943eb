"""The style rule of CONTRIBUTING, held over every comment and docstring."""

import pytest

from tests.architecture.prose import ROOT, Passage, faults, passages

# The first line of an error's docstring is the message that clients get, and stays as it is.
MESSAGES = {"The query was modified by someone else."}
FOLDERS = ("orchestrator", "api", "matview", "chaos", "benchmarks", "demo", "docs", "tests")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_passage_hides_who_acts_or_begins_with_a_riddle(folder: str) -> None:
    found = [
        f"{passage.path.relative_to(ROOT)}:{passage.line}: {', '.join(wrong)}"
        for passage in passages((folder,))
        if passage.text not in MESSAGES and (wrong := faults(passage))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("The worker closes the run.", []),
        ("Whoever closes it. What it is.", ["Whoever", "Whoever …", "What …"]),
        ('It is told `whatever` "meanwhile".', ["told"]),
        ("A run that is\nnot ours.", ["not ours"]),
    ],
)
def test_the_rule_finds_what_it_is_for(text: str, wrong: list[str]) -> None:
    assert faults(Passage(ROOT, 1, text)) == wrong
