"""Patterns of the files of a source table, for files on a disk and for objects alike."""

MAX_PATTERN_LENGTH = 500
MAX_FILES = 10_000
_DATABASES = ("postgresql://", "postgres://", "mysql://")


def is_wild(segment: str) -> bool:
    """Whether a segment of a path holds a wildcard."""
    return "*" in segment or "?" in segment


def fits(name: str, pattern: str) -> bool:
    """Whether `name` fits `pattern`: `*` stands for any characters, `?` for one.

    It backtracks only to the last `*`, so it takes at most as many steps as the product of both lengths. A regular
    expression would backtrack to each `*`: twelve of them before a letter that is missing took minutes.
    """
    at, expected, star, resume = 0, 0, -1, 0
    while at < len(name):
        if expected < len(pattern) and pattern[expected] == "*":
            star, resume = expected, at
            expected += 1
        elif expected < len(pattern) and pattern[expected] in {"?", name[at]}:
            at, expected = at + 1, expected + 1
        elif star >= 0:
            resume += 1
            at, expected = resume, star + 1
        else:
            return False
    return not pattern[expected:].strip("*")


def is_visible(name: str, pattern: str) -> bool:
    """Whether a pattern may match a name: a wildcard does not stand for the leading dot of a hidden file."""
    return pattern.startswith(".") or not (is_wild(pattern) and name.startswith("."))


def is_database_pattern(url_pattern: str) -> bool:
    """Whether the pattern of a source table is the URL of a table of a database."""
    return url_pattern.lower().startswith(_DATABASES)


def database_of(url_pattern: str) -> str:
    """The server and the database of such a URL, without the table."""
    scheme, _, rest = url_pattern.partition("://")
    server, _, path = rest.partition("/")
    database = path.partition("/")[0]
    if scheme.lower() == "mysql":  # where a table has no schema
        database = database.partition(".")[0]
    return f"{scheme.lower()}://{server.lower()}/{database}"


def is_remote_pattern(url_pattern: str) -> bool:
    """Whether the pattern of a source table is a URL: of remote files, or of a table of a database."""
    return "://" in url_pattern and not url_pattern.lower().startswith("file://")
