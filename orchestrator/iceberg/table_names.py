"""Names of views as names of tables: `ns.orders` is the table `orders` in the namespace `ns`.

Like everywhere else, the case of A to Z may differ from the view's. Two views never differ in it alone, and Trino asks
for every name in lower case. So each namespace has one spelling too.
"""

from collections.abc import Iterable, Sequence

from orchestrator.model.names import name_key

DEFAULT_NAMESPACE = ("default",)

Namespace = tuple[str, ...]


def namespace_key(namespace: Iterable[str]) -> Namespace:
    """The form in which namespaces are compared."""
    return tuple(map(name_key, namespace))


def listed(names: Iterable[str]) -> list[tuple[Namespace, str]]:
    """The namespace and the table of each of these views, sorted.

    `orders` and `default.orders` would be the same table. It is `orders`, and the other one is not listed.
    """
    spelled: dict[Namespace, Namespace] = {(): (), DEFAULT_NAMESPACE: DEFAULT_NAMESPACE}
    tables: dict[tuple[Namespace, str], tuple[Namespace, str]] = {}
    for name in sorted(names, key=lambda name: ("." in name, name)):
        *parts, table = name.split(".")
        key = namespace_key(parts) or DEFAULT_NAMESPACE
        for length, part in enumerate(parts, start=1):
            spelled.setdefault(key[:length], (*spelled[key[: length - 1]], part))
        tables.setdefault((key, name_key(table)), (spelled[key], table))
    return sorted(tables.values())


def views_named(namespace: Sequence[str], table: str) -> list[str]:
    """The names that the view of a table may have, of which the first one that has rows is the table.

    None for parts that no view's name has: PostgreSQL accepts no text with the character NUL, for example.
    """
    parts = [*namespace, table]
    name = ".".join(parts)
    if not (name.isascii() and name.isprintable()) or any(not part or "." in part for part in parts):
        return []
    return [table, name] if namespace_key(namespace) == DEFAULT_NAMESPACE else [name]
