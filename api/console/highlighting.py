"""SQL with its words marked, as HTML that needs no script and no inline style."""

from functools import cache

from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.sql import PostgresLexer

# Of longer statements the words are not marked: that takes a second for a megabyte.
_MOST_CHARACTERS = 30_000


def highlighted(sql: str | None) -> Markup:
    """The statement, escaped, with a class for each kind of word."""
    if not sql:
        return Markup("")
    if len(sql) > _MOST_CHARACTERS:
        return escape(sql)
    return Markup(highlight(sql, _lexer(), _formatter()))  # noqa: S704 - the formatter escapes all text


@cache
def _lexer() -> PostgresLexer:
    return PostgresLexer(stripnl=False, ensurenl=False)


@cache
def _formatter() -> HtmlFormatter:
    return HtmlFormatter(nowrap=True, classprefix="sql-")
