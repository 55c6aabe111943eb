r"""Untrusted text, escaped for a log, a terminal or a page.

An error message, a file name or a column name may hold any character: a line break that begins a new line in a log, an
escape sequence that a terminal executes, a character that reverses the direction of writing. Each of these unsafe
characters is shown as its escape (`\n`, `\x1b`, `\u202e`), so that a reader sees it and no program acts on it.
"""

import re

# Control characters; characters that direct, join or hide text (Unicode's category Cf, except the soft hyphen and the
# joiners that Persian and emoji need); line and paragraph separators; halves of surrogate pairs.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U00013438"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_ANY = re.compile(f"[{_UNSAFE}]")
_ANY_BUT_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
# JSON has no raw control characters in its strings, and may have line breaks, tabs and blanks between its tokens.
_IN_JSON = re.compile(f"(?![\n\r\t ])[{_UNSAFE}]")
_BACKTICKS = re.compile("`+")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def one_line(text: str) -> str:
    """The text with every unsafe character escaped, line breaks and tabs included."""
    return text if text.isprintable() else _ANY.sub(_escaped, text)


def lines(text: str) -> str:
    """The text with every unsafe character escaped except line breaks and tabs, to be shown as several lines."""
    return text if text.isprintable() else _ANY_BUT_LINES.sub(_escaped, text)


def code(text: str) -> str:
    """The text as a span of Markdown code on one line, which nothing in it can end: no link, picture or HTML begins."""
    shown = one_line(text)
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    space = " " if len(fence) > 1 or not shown.strip() else ""
    return f"{fence}{space}{shown}{space}{fence}"


def json_text(text: str) -> str:
    """JSON with the same value, in which every unsafe character is escaped in JSON's own way."""
    return text if text.isprintable() else _IN_JSON.sub(_escaped_in_json, text)


def _escaped(found: "re.Match[str]") -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    return f"\\x{number:02x}" if number <= 0xFF else f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004


def _escaped_in_json(found: "re.Match[str]") -> str:
    units = found[0].encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
