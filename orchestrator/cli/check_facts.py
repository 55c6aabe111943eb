"""How the checks of a view or a source table stand, in a line."""

from orchestrator.cli.api_client import Api, Json, Refused
from orchestrator.model.check import Assertion

_MOST_NAMED = 5


def label(check: Json) -> str:
    """The assertion of a check in words."""
    assertion = Assertion(check_type=check["check_type"], column_name=check["column_name"], config=check["config"])
    return str(assertion)


def check_line(api: Api, path: str) -> str | None:
    """The checks below a path in words; None if there are none, or if the key may not see them."""
    try:
        checks = [one for one in api.items(f"{path}checks/") if one["enabled"]]
    except Refused:
        return None
    if not checks:
        return None
    latest = {one["id"]: one["latest_run"]["status"] if one["latest_run"] else None for one in checks}
    others = [one for one in checks if latest[one["id"]] not in {"passed", None}]
    words = [f"{sum(status == 'passed' for status in latest.values())} of {len(checks)} passed"]
    words += [f"{one['name'] or label(one)} {latest[one['id']]} ({one['severity']})" for one in others[:_MOST_NAMED]]
    words += [f"and {len(others) - _MOST_NAMED} more did not"] if len(others) > _MOST_NAMED else []
    return ", ".join(words)
