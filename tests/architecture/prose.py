"""Comments and docstrings of the program, and what the style rule of CONTRIBUTING says of them."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = ("orchestrator", "api", "matview")

# Words that hide who acts, or that stand for a term of the field. The glossary of CONTRIBUTING has the terms.
WORDS = re.compile(
    r"\b(whoever|whatever|whichever|whomever|somebody|nobody|anybody|everybody|someone|anyone"
    r"|tell|tells|told|telling|mend|mends|mended|mending|forgive|forgives|forgiven|unforgiven"
    r"|wish|wishes|wanted|unwanted|meanwhile|anew|in truth|without a word|for ever|behind our back"
    r"|of ours|not ours|our own|shelf|levers?|doors?|rooms?"
    r"|held against|hold against|holds against|standing|stillborn|herald|jams?)\b",
    re.IGNORECASE,
)
OPENINGS = re.compile(r"(?:^|[.:;!?] )(What(?!ever)|Whatever|Whoever|Whether or not)\b")


class Passage(NamedTuple):
    """A docstring, or comments on lines that follow one another."""

    path: Path
    line: int
    text: str


def passages(folders: tuple[str, ...] = FOLDERS) -> Iterator[Passage]:
    """All of them, in the order of the files."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            yield from _docstrings(path, source)
            yield from _comments(path, source)


def faults(passage: Passage) -> list[str]:
    """The words and openings of a passage that the style rule excludes."""
    text = " ".join(re.sub(r"`[^`]*`|\"[^\"]*\"", "", passage.text).split())
    words = [found.group(0) for found in WORDS.finditer(text)]
    return words + [f"{found.group(1)} …" for found in OPENINGS.finditer(text)]


def _docstrings(path: Path, source: str) -> Iterator[Passage]:
    for node in ast.walk(ast.parse(source)):
        for value in ast.iter_child_nodes(node):
            # Also the string below a field, which documents it.
            if isinstance(value, ast.Expr) and isinstance(value.value, ast.Constant):
                text = value.value.value
                if isinstance(text, str):
                    yield Passage(path, value.lineno, text)


def _comments(path: Path, source: str) -> Iterator[Passage]:
    start, last, texts = 0, -2, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if texts and token.start[0] != last + 1:
            yield Passage(path, start, " ".join(texts))
            texts = []
        if not texts:
            start = token.start[0]
        texts.append(token.string.lstrip("# "))
        last = token.start[0]
    if texts:
        yield Passage(path, start, " ".join(texts))
