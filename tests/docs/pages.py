"""The pages of the documentation, and the parts of them that tests read."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

_FENCED = re.compile(r"^( *)```.*?^\1```$", flags=re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`[^`\n]+`")


def named(page: Path) -> str:
    """The name of a page in the output of a test."""
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code; code within a line is kept."""
    return _FENCED.sub("", page.read_text())


def links(page: Path) -> Iterator[str]:
    """The targets of its links and pictures that are in the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _SPAN.sub("``", prose(page))):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """The anchors of its headings: lower case, hyphens for spaces, no other punctuation."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {f"{slug}-{n}" if n else slug for slug, last in found.items() for n in range(last + 1)}


def code(page: Path) -> str:
    """All code of a page, within lines or in blocks; a command over several lines becomes one line."""
    text = page.read_text()
    blocks = [block.group() for block in _FENCED.finditer(text)]
    spans = [span.group().strip("`") for span in _SPAN.finditer(_FENCED.sub("", text))]
    return "\n".join([*blocks, *spans]).replace("\\\n", " ")
