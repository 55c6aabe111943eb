"""`make docs`: writes the table of all settings in `docs/settings.md` from the code that reads them."""

import sys
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from orchestrator.settings import PREFIX, Settings

PAGE = Path(__file__).parent / "settings.md"
_HEAD = """# Settings

Every process reads the same environment variables once, when it starts, also from a file `.env` in the folder that it
starts in. A wrong value ends it with one line that names the variable. `matview dev` sets what it needs by itself.

This table is made from the code (`make docs`); a test holds it against it.

| Variable | Default | What it is |
|---|---|---|
"""
# Defaults that depend on the machine, in words.
_FOUND_OUT = {
    "max_concurrent_queries": "the number of processors",
    "query_threads": "the number of processors",
    "query_memory_mb": "six tenths of the machine's memory, divided by its processors and one",
    "read_memory_mb": "512, or what a query may use if that is less",
    "worker_memory_mb": "six tenths of the machine's memory",
}


def page() -> str:
    """The text of the whole page."""
    return _HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    description = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {description} |\n"


def _default(name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _FOUND_OUT[name]
    if field.default is PydanticUndefined:
        return "**required**"
    return "" if field.default in (None, []) else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")
