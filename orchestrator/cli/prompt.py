"""The prompt of `matview shell`: its history, the end of a statement, and completion of names."""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus, in_paste_mode
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from orchestrator.cli.api_client import Api
from orchestrator.cli.output import Failure, warn
from orchestrator.cli.queries import run_query
from orchestrator.model.names import fold, quoted
from orchestrator.model.placeholders import is_blank, split_statements
from orchestrator.model.printable import one_line

Names = Mapping[str, tuple[str, ...]]
"""The views and tables, each with its columns."""

_PROMPT, _CONTINUED = "matview> ", "     ..> "
# A piece of a name, or something else: a string, or a character between names.
_PIECE = re.compile(r"""(?P<name>[\w$.]+|"[^"]*"?)|'[^']*(?:'|(?P<open>\Z))|.""", flags=re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
# The words that DuckDB 1.5 takes for no name unless they are quoted.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
    default deferrable desc describe distinct do else end except false fetch for foreign from group having in
    initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer
    pivot_wider placing primary qualify references returning select show some summarize symmetric table then to
    trailing true union unique unpivot using variadic when where window with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())
_ALL_COLUMNS = """SELECT table_name, column_name FROM information_schema.columns
ORDER BY table_name, ordinal_position LIMIT 50000"""
_SECONDS_BETWEEN_LOADS = 30


def prompted(api: Api, *, keys: Input | None = None, screen: Output | None = None) -> Iterator[str]:
    """The texts that the user enters, until Ctrl-D. Ctrl-C abandons a text.

    Args:
        api: The API that knows the names to complete.
        keys: The source of the keys, if it is not the terminal.
        screen: The display, if it is not the terminal.
    """
    names = NameLoader(api)
    names.refresh()
    session: PromptSession[str] = PromptSession(
        _PROMPT,
        multiline=True,
        prompt_continuation=_CONTINUED,
        history=history(history_path()),
        completer=NameCompleter(names),
        complete_while_typing=False,
        key_bindings=_bindings(),
        input=keys,
        output=screen,
    )
    while True:
        try:
            text = session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.strip():
            yield text
            names.refresh()


def is_complete(text: str) -> bool:
    """Whether Enter ends the text: a command with a backslash, statements that all end, or nothing."""
    if not text.strip() or text.lstrip().startswith("\\"):
        return True
    statements, rest = split_statements(text)
    return bool(statements) and is_blank(rest)


def history_path() -> Path:
    """The file that keeps the history, in the folder for the state of programs."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # The specification says that a relative path is ignored.
    base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return base / "matview" / "history"


def history(path: Path) -> History:
    """The history in a file that only its user can read; in memory, with a warning, if that cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(number, 0o600)
        finally:
            os.close(number)
    except OSError as error:
        warn(f"the history is not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return _LenientHistory(path)


class _LenientHistory(FileHistory):
    """A history of which an entry that cannot be stored, as on a full disk, is lost, and the shell goes on."""

    def store_string(self, string: str) -> None:
        """Append an entry to the file."""
        with suppress(OSError, UnicodeEncodeError):
            super().store_string(string)


class NameLoader:
    """The names of a project, requested in a thread of its own, so that the prompt never waits for them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._due = 0.0
        self._loading: threading.Thread | None = None
        self.names: Names = {}

    def refresh(self) -> None:
        """Request the names, unless that was done a moment ago."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _SECONDS_BETWEEN_LOADS
            self._loading = threading.Thread(target=self._load, daemon=True)
            self._loading.start()

    def wait(self, seconds: float) -> None:
        """Wait until names that were requested are there."""
        if self._loading is not None:
            self._loading.join(seconds)

    def _load(self) -> None:
        found: dict[str, list[str]] = {}
        try:
            for table, column in run_query(self._api, _ALL_COLUMNS).rows:
                found.setdefault(str(table), []).append(str(column))
        except (Failure, RuntimeError, ValueError):  # the shell works without them, and the client may be closed
            return
        self.names = {table: tuple(columns) for table, columns in found.items()}


class NameCompleter(Completer):
    """Completes the names of views and tables, and of the columns of those that the statement reads."""

    def __init__(self, names: NameLoader) -> None:
        self._names = names

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The completions of the word before the cursor."""
        del complete_event
        self._names.wait(seconds=2)  # the first Tab may come before the first names
        names = self._names.names
        before = document.text_before_cursor
        word = _last_word(before)
        if word is None:
            return
        yield from _matching(word, ((_table_name(name), "table") for name in names))
        if before.lstrip().startswith("\\"):
            return
        qualifier, dot, part = word.rpartition(".")
        tables = _tables_of(names, document.text, qualifier if dot else None)
        columns = dict.fromkeys(column for table in tables for column in names[table])
        yield from _matching(part, ((_column_name(column), "column") for column in columns))


def _last_word(text: str) -> str | None:
    """The name that the text ends with, with its dots and quotes; None if it ends within a string."""
    word = ""
    for piece in _PIECE.finditer(text):
        if piece["open"] is not None:
            return None
        word = word + piece.group() if piece["name"] else ""
    return word


def _matching(word: str, candidates: Iterable[tuple[str, str]]) -> Iterator[Completion]:
    wanted = fold(word).replace('"', "")
    for name, kind in candidates:
        # A character that could control the terminal is not inserted, so such a name is not completed.
        if fold(name).replace('"', "").startswith(wanted) and one_line(name) == name:
            yield Completion(name, start_position=-len(word), display_meta=kind)


def _tables_of(names: Names, text: str, qualifier: str | None) -> list[str]:
    """The tables whose columns may be meant: the one that is named, else those of the statement, else all."""
    if qualifier is not None:
        bare = fold(qualifier).replace('"', "")
        named = [name for name in names if fold(name) == bare]
        if named:
            return named
    words = {fold(word).strip('."') for word in re.findall(r'[\w$."]+', text)}
    return [name for name in names if fold(name) in words] or list(names)


def _table_name(name: str) -> str:
    """A name as a statement has it. The dots in it need no quotes."""
    return name if all(_is_plain(part) for part in name.split(".")) else quoted(name)


def _column_name(name: str) -> str:
    return name if _is_plain(name) else quoted(name)


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and fold(name) not in _RESERVED


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        if is_complete(event.current_buffer.text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.newline(copy_margin=not in_paste_mode())

    return bindings
