"""Logging to standard error: one line an event, with the ids that it is about and without secrets."""

import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from orchestrator.model.printable import json_text, lines, one_line
from orchestrator.telemetry.log_context import log_fields

Format = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_REDACTED = "***"
# Shorter secrets are not masked: so short a word occurs in other texts too, and so reveals no password.
_SHORTEST_SECRET = 6
# The names of secrets, which may also end a longer name, and the quotes around a value that contains spaces.
_NAMES = "password|passwd|api_key"
_QUOTED = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\""
# Secrets that are found by their shape: passwords in URLs and after names, API keys and webhook secrets.
_PATTERNS = [
    (re.compile(r"(://[^/\s:@]*:)[^\s@/]+@"), rf"\1{_REDACTED}@"),
    (re.compile(rf"(?i)({_NAMES})=(?:{_QUOTED}|[^\s&'\"]+)"), rf"\1={_REDACTED}"),
    (re.compile(rf"(?i)((?:{_NAMES})(['\"])\s*:\s*)(?:{_QUOTED})"), rf"\1\2{_REDACTED}\2"),
    (re.compile(r"(?i)\b(bearer )\S+"), rf"\1{_REDACTED}"),
    (re.compile(r"\bmv_[\w-]{43}(?![\w-])"), _REDACTED),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=]+"), _REDACTED),
]

Redactor = Callable[[str], str]


def set_up_logging(level: str, form: Format = "text", secrets: Iterable[str] = ()) -> None:
    """Log at `level` and above, uncaught exceptions too; `secrets` are masked wherever they occur."""
    handler = logging.StreamHandler(sys.stderr)
    mask = make_redactor(secrets)
    handler.setFormatter(JsonFormatter(mask) if form == "json" else TextFormatter(mask))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def make_redactor(secrets: Iterable[str]) -> Redactor:
    """A function that masks these secrets in a text, and everything that has the shape of a secret."""
    # The longest first: one may be part of another.
    values = sorted({value for value in secrets if len(value) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def mask(text: str) -> str:
        for value in values:
            text = text.replace(value, _REDACTED)
        for shape, shown in _PATTERNS:
            text = shape.sub(shown, text)
        return text

    return mask


class TextFormatter(logging.Formatter):
    """A line for people: the message, then its ids in brackets if it has any."""

    def __init__(self, mask: Redactor) -> None:
        super().__init__(_TEXT)
        self._mask = mask

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line without an exception, which follows on lines of its own."""
        ids = " ".join(f"{name}={value}" for name, value in log_fields(record).items())
        line = super().formatMessage(record)
        return one_line(self._mask(f"{line} [{ids}]" if ids else line))

    def format(self, record: logging.LogRecord) -> str:
        """The whole record with secrets masked, also those in the text of an exception.

        Lines after the first are indented, so that no text in them passes for the line of another event.
        """
        return lines(self._mask(super().format(record))).replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """A line for programs: one flat JSON object whose values are all strings."""

    def __init__(self, mask: Redactor) -> None:
        super().__init__()
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        """The whole record as one line, with secrets masked."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **log_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json_text(json.dumps({name: self._mask(value) for name, value in line.items()}, ensure_ascii=False))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("orchestrator").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        _log_uncaught(hook.exc_type, hook.exc_value, hook.exc_traceback)
