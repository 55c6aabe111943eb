"""The columns of a view as its readers get them, and those that its query gives if they differ."""

from collections.abc import Iterable

from orchestrator.cli.api_client import Api, Json, data

_VERSIONS = 100


def column_lines(api: Api, view: Json) -> list[tuple[str, str | None]]:
    """The lines of `view show` about columns.

    After a rollback, and after an edit that has not run or has failed, the current version has other columns than the
    query. Readers get those of the version.
    """
    query = _shown(view["columns"])
    result = _of_version(api, view)
    if result is None or result == query:
        return [("columns", query)]
    return [("columns", result), ("not yet", f"its query now gives {query}")]


def _of_version(api: Api, view: Json) -> str | None:
    """The columns of the current version; None if there is none, or if it is not among the newest."""
    if view.get("current_snapshot_id") is None:
        return None
    versions = data(api.get(f"warehouse_saved_queries/{view['id']}/snapshots/", page_size=_VERSIONS))["results"]
    return next((_shown(one["columns"]) for one in versions if one["is_current"]), None)


def _shown(columns: Iterable[Json]) -> str:
    return ", ".join(f"{column['name']} {column['duckdb_type']}" for column in columns)
