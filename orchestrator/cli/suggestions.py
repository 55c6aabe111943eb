"""Names that a person may have meant, for messages about one that there is not."""

from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches

from orchestrator.cli.api_client import Api, data
from orchestrator.cli.output import Failure
from orchestrator.model.names import fold

# Of a larger project only the newest are compared: the message must not take longer than the command.
_MOST_NAMES = 1000
_MOST_SUGGESTED = 3


def did_you_mean(api: Api, path: str, name: str) -> str:
    """The names in a list of the API that are near to `name`, as the end of a message; empty if none is."""
    with suppress(Failure):
        listed = data(api.get(path, page_size=_MOST_NAMES))["results"]
        return nearest(name, (one["name"] for one in listed))
    return ""


def nearest(name: str, names: Iterable[str]) -> str:
    """Those of the names that are near to `name`, as the end of a message; empty if none is."""
    known = {fold(one): one for one in names}
    close = get_close_matches(fold(name), known, n=_MOST_SUGGESTED)
    return f"; did you mean {' or '.join(known[one] for one in close)}?" if close else ""
