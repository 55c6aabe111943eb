"""The names under which a session on the cluster finds the views and source tables of a project."""

from collections.abc import Iterable

from orchestrator.model.errors import InvalidQuery
from orchestrator.model.names import name_key


def session_name(name: str) -> str:
    """The name of a view or table in a session, where a dot or a dollar sign would separate names."""
    return name_key(name).replace(".", "__").replace("$", "__")


def session_names(names: Iterable[str]) -> dict[str, str]:
    """The name of each in a session, by its key. Raises InvalidQuery if two of them have the same there."""
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        short = session_name(name)
        if taken.setdefault(short, name_key(name)) != name_key(name):
            raise InvalidQuery(f"Invalid query: on Spark, {name} and {taken[short]} have the same name.", attr="query")
        found[name_key(name)] = short
    return found
