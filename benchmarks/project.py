"""Projects of many views, planned and applied as a whole: new, unchanged, and after an edit of one that many read."""

import time
from pathlib import Path

from benchmarks.common import Api, Json, Measurement, say, show
from benchmarks.dag import graph
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.devstack.stack import DevStack

_LAYERS = 10


async def measure(folder: Path, rounds: int, views: int) -> list[Measurement]:
    """Measure each in turn; the views of each round are new. Nothing is refreshed."""
    taken: dict[str, list[float]] = {}
    async with DevStack(folder / "home", bootstrap=bootstrap, say=say) as stack:
        api = Api(stack)
        for number in range(rounds):
            body = _project(f"r{number}", views)

            async def timed(what: str, path: str, sent: Json) -> None:
                began = time.perf_counter()
                await api.call("POST", f"/definitions/{path}/", {**sent, "refresh": False})
                taken.setdefault(what, []).append(time.perf_counter() - began)

            await timed("plan, all new", "plan", body)
            await timed("apply, all new", "apply", body)
            await timed("plan, nothing changed", "plan", body)
            await timed("apply, nothing changed", "apply", body)
            body["views"][0]["query"] = {"query": "SELECT k, v, 1 AS more FROM (SELECT 1 AS k, 2 AS v)"}
            await timed("plan, a view that many read has one more column", "plan", body)
            await timed("apply, a view that many read has one more column", "apply", body)
    figures = [Measurement(f"{what} ({views} views)", values) for what, values in taken.items()]
    show(f"A project of {views} views", figures)
    return figures


def _project(prefix: str, views: int) -> Json:
    """The definitions: layers of views, each of which reads two of the layer above."""
    width = max(2, views // _LAYERS)
    first, *later = graph(prefix, _LAYERS, width)
    statements = {node.name: f"SELECT {number} AS k, 1 AS v" for number, node in enumerate(first)}
    statements |= {node.name: node.sql for layer in later for node in layer}
    return {
        "views": [
            {"name": name, "query": {"query": sql}, "sync_frequency": "24hour"} for name, sql in statements.items()
        ]
    }
