"""YAML as the files of a project use it: mappings, lists and texts.

Every scalar is read as text, so that `no`, `12:30` and `007` mean what is written. The meaning of a field decides its
type. Anchors are refused, since a short file could stand for a very large one, and so are keys that appear twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from orchestrator.cli.output import Failure
from orchestrator.model.position import Position, position_at

LARGEST_BYTES = 1 << 20
_SPECIAL = ("*/", "/*", "\r", "\x85", "\u2028", "\u2029", "\ufeff")


class _Loader(yaml.BaseLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - PyYAML's own
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors are not used here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in made:
            problem = f"the key {key!r} is there twice" if isinstance(key, str) else "a key is a text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
        made[key] = loader.construct_object(value_node, deep=True)
    return made


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        # Items of a list are indented below their key.
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Between double quotes `dump` can escape the marks of a comment, and PyYAML line breaks that are not \n.
    has_special = any(one in value for one in _SPECIAL)
    style = '"' if has_special else "|" if "\n" in value.strip() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


class _ValueLoader(_Loader):
    """Reads an empty value, `null` and `~` as None, unless it stands in quotes."""


def _value(_: _ValueLoader, node: yaml.ScalarNode) -> str | None:
    return None if node.style is None and node.value.lower() in {"", "~", "null"} else str(node.value)


_ValueLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG, _value)


def load(text: str, *, file: str, first_line: int = 1) -> dict[str, Any]:
    """The mapping that a text holds; an empty one for an empty text. Raises Failure with file, line and column."""
    with _placed(file, first_line):
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - it makes nothing but texts, lists and mappings
    if found in {None, ""} if not isinstance(found, (dict, list)) else False:
        return {}
    if not isinstance(found, dict):
        raise Failure(f"{file}:{first_line}: it holds keys and values, as in `description: …`")
    return found


def load_items(text: str, *, file: str) -> list[tuple[Any, Position]]:
    """The items of the list that a text holds, each with its place, and with None for empty values. Raises Failure."""
    with _placed(file, 1):
        found = yaml.load(text, Loader=_ValueLoader)  # noqa: S506 - as above
        root = yaml.compose(text, Loader=_Loader)
    if found is None:
        return []
    if not isinstance(found, list) or not isinstance(root, yaml.SequenceNode):
        raise Failure(f"{file}:1: it holds a list, as in `- name: …`")
    places = (position_at(text, item.start_mark.index) for item in root.value)
    return list(zip(found, places, strict=True))


@contextmanager
def _placed(file: str, first_line: int) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{first_line + mark.line}:{mark.column + 1}" if mark else file
        raise Failure(f"{place}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise Failure(f"{file}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise Failure(f"{file}: it is nested too deeply") from None


def composed(text: str) -> yaml.Node | None:
    """The nodes of a text that `load` has read, for `item_places`."""
    return yaml.compose(text, Loader=_Loader)


def item_places(text: str, root: yaml.Node | None, *keys: str, first_line: int = 1) -> list[Position]:
    """The place of each item of a list in a text with the node `root`: that below the last of these keys."""
    node = root
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    if not isinstance(node, yaml.SequenceNode):
        return []
    found = (position_at(text, item.start_mark.index) for item in node.value)
    return [one._replace(line=first_line + one.line - 1) for one in found]


def dump(values: dict[str, Any]) -> str:
    """A mapping as text, that no block comment of SQL ends inside of and none begins."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.replace("*/", "*\\/").replace("/*", "/\\x2a")
