"""`matview lineage`: what reads what, as a tree, as Mermaid text or as JSON, also by column."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.api_client import Api, Json, data, echo_columns, moment, with_api
from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, echo_json, hanging, out
from orchestrator.model.names import fold
from orchestrator.model.printable import one_line

PATH = "lineage/"
_STYLES = {"Completed": "green", "Failed": "red", "Cancelled": "yellow", "Running": "bold", "Modified": "yellow"}
_ROWS = "(rows)"
# More than any tree is wide.
_WIDEST = 100_000

Neighbours = Mapping[str, list[str]]


def add_to(main: typer.Typer) -> None:
    """Add the command."""
    main.command("lineage")(lineage)


@with_api
def lineage(
    api: Api,
    view: Annotated[
        str | None,
        typer.Argument(metavar="VIEW", help="Only what this view or table is connected with.", show_default=False),
    ] = None,
    *,
    upstream: Annotated[bool, typer.Option("--upstream", help="Only what it reads.")] = False,
    downstream: Annotated[bool, typer.Option("--downstream", help="Only what reads it.")] = False,
    columns: Annotated[
        bool, typer.Option("--columns", help="Also what each column is computed from: of the view, or of all.")
    ] = False,
    to_tables: Annotated[
        bool, typer.Option("--to-tables", help="Likewise, through all views down to source tables.")
    ] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as Mermaid text.")] = False,
) -> None:
    """Show which views and source tables read which, as a tree."""
    if view is None and (upstream or downstream):
        raise Failure("name the view for --upstream or --downstream", EXIT_USAGE)
    if mermaid and (columns or to_tables or api.as_json):
        raise Failure("--mermaid shows views and tables only; leave out --columns, --to-tables and --json", EXIT_USAGE)
    given: dict[str, str | int] = {} if view is None else {"view": view}
    if upstream is not downstream:
        given["direction"] = "upstream" if upstream else "downstream"
    flags = {"columns": columns or to_tables, "to_tables": to_tables}
    response = api.get(PATH, **given, **{name: "true" for name, value in flags.items() if value})
    if api.as_json:
        echo_json(response.text)
        return
    graph = data(response)
    if mermaid:
        echo(_mermaid(graph))
        return
    # A line that is cut stays readable on a terminal, where one that wraps would break the tree. A pipe gets all.
    console = out if out.is_terminal else Console(highlight=False, width=_WIDEST)
    for tree in _trees(graph, view, upstream=upstream, downstream=downstream):
        console.print(tree, soft_wrap=False)
    if columns or to_tables:
        echo("")
        _echo_sources([_start(graph, view)] if view else graph["nodes"])


def _mermaid(graph: Json) -> str:
    """The graph as a Mermaid flowchart. Source tables have the form of a database, views that of a box."""
    number = {node["id"]: f"n{place}" for place, node in enumerate(graph["nodes"])}
    nodes = (
        f'    {number[node["id"]]}["{node["name"]}"]'
        if node["kind"] == "view"
        else f'    {number[node["id"]]}[("{node["name"]}")]'
        for node in graph["nodes"]
    )
    edges = (f"    {number[edge['from']]} --> {number[edge['to']]}" for edge in graph["edges"])
    return "\n".join(["flowchart LR", *nodes, *edges])


def _trees(graph: Json, view: str | None, *, upstream: bool, downstream: bool) -> Iterator[Tree]:
    nodes = {node["id"]: node for node in graph["nodes"]}
    reads: dict[str, list[str]] = {}
    readers: dict[str, list[str]] = {}
    for edge in sorted(graph["edges"], key=lambda edge: (nodes[edge["from"]]["name"], nodes[edge["to"]]["name"])):
        reads.setdefault(edge["to"], []).append(edge["from"])
        readers.setdefault(edge["from"], []).append(edge["to"])
    if view is None:
        yield from _from_the_top(nodes, reads, readers)
        return
    start = _start(graph, view)
    root = Tree(_label(start))
    both = upstream is downstream
    for label, wanted, neighbours in (("reads", upstream, reads), ("is read by", downstream, readers)):
        if (both or wanted) and start["id"] in neighbours:
            branch = root.add(Text(label, style="dim")) if both else root
            _grow(branch, neighbours[start["id"]], nodes, neighbours, {start["id"]})
    yield root


def _from_the_top(nodes: Mapping[str, Json], reads: Neighbours, readers: Neighbours) -> Iterator[Tree]:
    """A tree for each node that reads nothing, with what reads it below."""
    shown: set[str] = set()
    for node in nodes.values():
        if node["id"] not in reads:
            root = Tree(_label(node))
            shown.add(node["id"])
            _grow(root, readers.get(node["id"], ()), nodes, readers, shown)
            yield root


def _grow(
    tree: Tree, children: Iterable[str], nodes: Mapping[str, Json], neighbours: Neighbours, shown: set[str]
) -> None:
    """Add nodes below a branch. A node that stands elsewhere already is only named again."""
    waiting = [(tree, child) for child in reversed(list(children))]
    while waiting:
        above, child = waiting.pop()
        further = neighbours.get(child, ())
        if child in shown and further:
            above.add(_label(nodes[child], again=True))
            continue
        shown.add(child)
        branch = above.add(_label(nodes[child]))
        waiting.extend((branch, one) for one in reversed(further))


def _label(node: Json, *, again: bool = False) -> Text:
    text = Text(one_line(node["name"]), no_wrap=True, overflow="ellipsis")
    if again:
        return text.append(" (see above)", "dim")
    if node["kind"] == "table":
        return text.append(" table", "dim")
    if not node["is_materialized"]:
        return text.append(" not materialized", "dim")
    status = node["status"] or "not run yet"
    text.append(f" {status}", _STYLES.get(status, "dim"))
    return text.append(f", as of {moment(node['data_as_of'])}", "dim") if node["data_as_of"] else text


def _start(graph: Json, view: str) -> Json:
    for node in graph["nodes"]:
        if fold(view) in {fold(node["name"]), node["id"]}:
            found: Json = node
            return found
    raise Failure(f"there is no view or table {view!r} in the answer")


def _echo_sources(nodes: Iterable[Json]) -> None:
    """Print what the columns of views are computed from, and what is not known of that."""
    rows, gaps = [], []
    for node in nodes:
        for column in node["columns"] or ():
            rows.append((node["name"], column["column"], _refs(column["from"]), _refs(column["also_depends_on"])))
            gaps.append((f"{node['name']}.{column['column']}: ", column["reason"]))
        if node["rows"]:
            rows.append((node["name"], _ROWS, "", _refs(node["rows"]["depends_on"])))
            gaps.append((f"{node['name']} {_ROWS}: ", node["rows"]["reason"]))
    echo_columns(("VIEW", "COLUMN", "FROM", "ALSO DEPENDS ON"), rows)
    for label, reason in gaps:
        if reason:
            echo(hanging(f"not all is known of {label}", reason))


def _refs(found: Iterable[Json]) -> str:
    return ", ".join(one["node"] if one["column"] is None else f"{one['node']}.{one['column']}" for one in found)
