"""When views are refreshed, and with which others: read from the command line, and shown on it."""

import typer

from orchestrator.cli.api_client import Json
from orchestrator.model.frequency_words import parse_frequency
from orchestrator.model.freshness import Freshness
from orchestrator.model.saved_query import SyncFrequency


def frequency(word: str) -> SyncFrequency:
    """The frequency that an option gives."""
    try:
        return parse_frequency(word)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def timing_text(view: Json) -> str | None:
    """When a view is refreshed: its frequency, or its cron expression with the time zone."""
    every: str | None = view["sync_frequency"]
    if view["cron"] is None:
        return every
    cron = f"{view['cron']} ({view['time_zone']})"
    return f"never; {cron} is paused" if every == SyncFrequency.NEVER else cron


def freshness_text(view: Json) -> str | None:
    """The views that are refreshed together with a view, in words."""
    if view["freshness"] == Freshness.FOLLOW:
        return "with all that it reads"
    if view["freshness"] == Freshness.UPSTREAM:
        older = f", if its data is older than {view['max_staleness']}" if view["max_staleness"] else ""
        return f"after what it reads{older}"
    return None
