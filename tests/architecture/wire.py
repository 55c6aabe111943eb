"""Everything that a client, an operator, a dashboard, a database or Temporal's storage knows by name.

`python -m tests.architecture.wire` writes it to `wire.json`, beside which a test holds the code: names in the code may
change freely as long as this does not.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer.main
from pydantic import BaseModel
from temporalio import activity, workflow

import orchestrator.activities
import orchestrator.workflows
from api.app import create_app
from orchestrator.catalog.tables import metadata
from orchestrator.cli.app import app
from orchestrator.model.errors import OrchestratorError, Terminal
from orchestrator.settings import Settings
from orchestrator.temporal import contract

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).parent / "wire.json"
_VIEW = UUID("12345678-1234-5678-1234-567812345678")
_METRIC = re.compile(r'"(matview_\w+)"')


def wire() -> dict[str, Any]:
    """All of it, as JSON has it."""
    found = {
        "cli": dict(_commands(typer.main.get_command(app), "matview")),
        "database": {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables},
        "enums": sorted({tuple(str(value) for value in kind) for kind in _subclasses(StrEnum)}),
        "errors": {
            kind.code: "terminal" if issubclass(kind, Terminal) else "transient"
            for kind in _subclasses(OrchestratorError)
        },
        "http": _http(),
        "metrics": sorted({name for path in _sources() for name in _METRIC.findall(path.read_text(encoding="utf-8"))}),
        "settings": sorted(f"MATVIEW_{name.upper()}" for name in Settings.model_fields),
        "shapes": sorted(
            {
                tuple(field.alias or name for name, field in kind.model_fields.items())
                for kind in _subclasses(BaseModel)
                if _crosses_temporal(kind)
            }
        ),
        "temporal": _temporal(),
    }
    loaded: dict[str, Any] = json.loads(json.dumps(found))
    return loaded


def _modules(package: Any) -> list[Any]:
    return [
        importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)
    ]


def _subclasses(base: type) -> Iterator[Any]:
    """The classes of the program that are made from one, independent of other imports."""
    for found in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        # The first runs the program; of the others, some empty the environment, and none has such classes.
        if not found.name.startswith(("orchestrator.__main__", "orchestrator.engines.")):
            importlib.import_module(found.name)
    waiting: list[Any] = [base]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.partition(".")[0] == "orchestrator":
                yield kind


def _crosses_temporal(kind: type) -> bool:
    return kind.__module__ in {f"orchestrator.model.{name}" for name in _MODULES_IN_TEMPORAL}


_MODULES_IN_TEMPORAL = ("edit_try", "run", "generation", "webhook_event", "snapshot", "findings")


def _temporal() -> dict[str, Any]:
    definitions: set[str] = set()
    for module in [*_modules(orchestrator.activities), *_modules(orchestrator.workflows)]:
        for thing in vars(module).values():
            flow = workflow._Definition.from_class(thing) if isinstance(thing, type) else None
            if flow is not None:
                definitions |= {f"workflow {flow.name}", *(f"update {name} of {flow.name}" for name in flow.updates)}
            for part in vars(thing).values() if isinstance(thing, type) else ():
                step = activity._Definition.from_callable(part) if callable(part) else None
                if step is not None:
                    definitions.add(f"activity {step.name}")
    return {
        "constants": sorted(
            value for name, value in vars(contract).items() if name.isupper() and isinstance(value, str)
        ),
        "definitions": sorted(definitions),
        "ids": [
            contract.run_workflow_id(_VIEW),
            contract.generation_workflow_id(1, _VIEW),
            contract.schedule_id(_VIEW),
            contract.tick_workflow_id(_VIEW, 1, "a.b"),
            contract.try_workflow_id(_VIEW),
            contract.notice_workflow_id(_VIEW, "run.failed"),
        ],
    }


def _http() -> dict[str, list[str]]:
    """Every operation with its parameters, and every shape with its fields: names only, no words about them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DATABASE_URL", "postgresql://nowhere/x"), ("DATA_DIR", "/nowhere")):
            patch.setenv(f"MATVIEW_{name}", value)
        document = create_app().openapi()
    found = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names = [f"{parameter['in']} {parameter['name']}" for parameter in operation.get("parameters", [])]
            found[f"{method.upper()} {path}"] = [*sorted(names), *sorted(operation["responses"])]
    for name, shape in document["components"]["schemas"].items():
        found[f"shape {name}"] = sorted(shape.get("properties", shape.get("enum", [])))
    return found


def _commands(command: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    yield name, sorted(option for parameter in command.params for option in parameter.opts)
    for part, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{name} {part}")


def _sources() -> Iterator[Path]:
    for folder in ("orchestrator", "api"):
        yield from (ROOT / folder).rglob("*.py")


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(wire(), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
