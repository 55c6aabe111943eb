"""Shows where in a statement an error is: the file, the line and the column, the line itself, and a caret below it."""

from orchestrator.model.position import Position
from orchestrator.model.printable import one_line

_INDENT = "    "


def with_place(message: str, position: Position, file: str | None = None) -> str:
    """The message, and below it the place. `file` names the file that holds the statement; - is standard input."""
    where = f"line {position.line}, column {position.column}"
    if position.view is not None:
        where = f"view {one_line(position.view)}:{position.line}:{position.column}"
    elif file is not None and file != "-":
        where = f"{one_line(file)}:{position.line}:{position.column}"
    if not position.excerpt:
        return f"{message}\n{where}"
    shown = "\n".join(f"{_INDENT}{line}" for line in position.marked.split("\n"))
    return f"{message}\n{where}\n{shown}"
