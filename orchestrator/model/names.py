"""The rules for names of views and source tables, which share one namespace in a project."""

import re
import string

from orchestrator.model.errors import InvalidName

MAX_LENGTH = 128
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$]*")
# The tables in which a query finds the names and columns of its project, and the schema that all names stand in.
CATALOG_TABLES = ("information_schema.schemata", "information_schema.tables", "information_schema.columns")
DEFAULT_CATALOG, DEFAULT_SCHEMA = "memory", "main"
# The first two are reserved by PostHog, the others by DuckDB, where a view of that namespace could never be found.
_RESERVED = frozenset({"system", "information_schema", "main", "memory", "pg_catalog", "temp"})


def check_name(name: str, noun: str = "view") -> str:
    """Return `name`, or raise InvalidName with the words PostHog uses."""
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"Ensure this field has no more than {MAX_LENGTH} characters.", attr="name")
    if not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        raise InvalidName(
            f"{name} is not a valid {noun} name. "
            f"{noun.capitalize()} names can only contain letters, numbers, '_', '.', or '$'.",
            attr="name",
        )
    for namespace in name_key(name).split(".")[:-1]:
        if namespace in _RESERVED:
            raise InvalidName(
                f"{name} is not a valid {noun} name. The namespace '{namespace}' is reserved.", attr="name"
            )
    return name


def catalog_table(name: str) -> str | None:
    """The one of CATALOG_TABLES that `name` means, which may begin with `system`; None for any other name."""
    short = fold(name).removeprefix("system.")
    return short if short in CATALOG_TABLES else None


def quoted(identifier: str) -> str:
    """`identifier` as a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def name_key(name: str) -> str:
    """The key by which a project compares names. Like DuckDB, it ignores the case of A to Z."""
    return fold(name)


def fold(name: str) -> str:
    """`name` in the form in which DuckDB compares names, whether of a statement or of a file.

    DuckDB treats A to Z as a to z and nothing else: to it "ä" and "Ä" are two names. Python's `lower` would make one of
    them, and one of "k" and the Kelvin sign. The same name could then mean one thing here and another in DuckDB.
    """
    return name.lower() if name.isascii() else name.translate(_FOLDED)
