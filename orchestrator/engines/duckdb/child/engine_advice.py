"""Replaces DuckDB's advice that no client can follow, since it names settings, by the options of a source table."""

import re
from typing import NamedTuple


class _Hint(NamedTuple):
    """A part of DuckDB's messages, and what stands in its place at the end of the message."""

    pattern: re.Pattern[str]
    instead: str


def _hint(pattern: str, instead: str = "") -> _Hint:
    return _Hint(re.compile(pattern, re.DOTALL), instead)


_SKIP = "The table's option on_bad_row (--on-bad-row skip, or quarantine) leaves such rows out."
_UNION = "The table's option union_by_name (--union-by-name) reads files whose columns differ."
# No pattern scans a text more than once: each begins with a fixed text, and goes on to the end of a line or of all.
_REST, _LINE = r".*", r"[^\n]*"
# A word in a list of solutions, and which of our options does the same.
_SOLUTIONS = {"ignore_errors": _SKIP, "union_by_name": _UNION}
_LIST = re.compile(r"(?:Possible [Ss]olutions?:|Possible fixes:)")
_HINTS = (
    _hint(rf"Please try installing {_REST}", "Extensions of DuckDB cannot be loaded here."),
    _hint(rf"(?:Install it first using|You can install it with|Please try reinstalling) {_REST}"),
    _hint(
        rf"It is possible that the encoding exists{_REST}",
        "The table's option encoding (--encoding) takes utf-8, utf-16 and latin-1.",
    ),
    _hint(rf"Alternatively, consider enabling{_REST}"),
    _hint(rf"If you are trying to read files with different schemas,{_REST}", _UNION),
    _hint(rf"Try setting 'auto_detect'{_LINE}"),
    _hint(rf"Try increasing 'sample_size'{_LINE}", _UNION),
    _hint(rf"Try (?:setting (?:format|records)=|increasing \"maximum_object_size\"){_LINE}"),
    _hint(r", try ignore_errors=true"),
    _hint(rf'Use "SET scalar_subquery_error_on_multiple_rows{_LINE}', "Aggregate its rows, or write LIMIT 1."),
    _hint(rf"Use SET lambda_syntax{_LINE}", "Write `lambda x: …` in place of `x -> …`."),
    _hint(rf'Use "?SET {_LINE}'),
    _hint(rf"You can adjust this setting{_LINE}"),
    _hint(rf"Specify a home directory {_LINE}"),
    _hint(rf"DuckDB may still be able to scan this file by manually {_LINE}"),
    _hint(rf"(?:See also|For more information, see) https?:{_LINE}"),
)
_CANDIDATES = re.compile(r"\n\tCandidate functions:((?:\n\t[^\n]*)*)")
_MOST_CANDIDATES = 5


def split_advice(message: str) -> tuple[str, str]:
    """The message with each such advice left out, and what a client can do instead, as sentences."""
    instead: list[str] = []
    listed = _LIST.search(message)
    if listed:
        solutions = message[listed.end() :]
        instead += [ours for word, ours in _SOLUTIONS.items() if word in solutions]
        message = message[: listed.start()]
    for hint in _HINTS:
        found = hint.pattern.search(message)
        if found:
            message = message[: found.start()] + message[found.end() :]
            instead.append(hint.instead)
    return _shorter_list(message).strip(), " ".join(filter(None, dict.fromkeys(instead)))


def _shorter_list(message: str) -> str:
    """The message with the first of the functions that DuckDB lists; for `+` there are forty."""
    found = _CANDIDATES.search(message)
    if not found:
        return message
    lines = found[1].split("\n\t")[1:]
    more = len(lines) - _MOST_CANDIDATES
    kept = [*lines[:_MOST_CANDIDATES], *([f"and {more} more"] if more > 0 else [])]
    return message[: found.start()] + "\n\t".join(["\n\tCandidate functions:", *kept]) + message[found.end() :]
