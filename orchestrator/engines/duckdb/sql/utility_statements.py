"""The statements beside SELECT that a reader may use: EXPLAIN, DESCRIBE and SHOW TABLES, each turned into a SELECT."""

import re

_EXPLAIN = re.compile(r"\s*+explain\s++(?!analyze\b|\()", re.IGNORECASE)
_SHOW_TABLES = re.compile(r"\s*+show\s++(?:all\s++)?tables\s*+(?:;\s*+)?", re.IGNORECASE)
# A name, and no statement, behind DESCRIBE or SHOW.
_PART = r'(?:"[^"]*+"|[\w$]++)'
_DESCRIBE = re.compile(rf"\s*+(?:describe|desc|show)\s++({_PART}(?>(?:\.{_PART})*))\s*+(?:;\s*+)?", re.IGNORECASE)
_ALL_TABLES = "SELECT table_name AS name FROM information_schema.tables ORDER BY name"


def without_explain(sql: str) -> tuple[str, bool]:
    """The statement, and whether it is only to be explained."""
    explain = _EXPLAIN.match(sql)
    return (sql[explain.end() :], True) if explain else (as_select(sql), False)


def as_select(sql: str) -> str:
    """`sql`, or if it asks for the tables or for the columns of a table by name, the SELECT that answers it."""
    if _SHOW_TABLES.fullmatch(sql):
        return _ALL_TABLES
    described = _DESCRIBE.fullmatch(sql)
    return f"DESCRIBE FROM {described[1]}" if described else sql
