"""`matview import-dbt`: the models of a dbt project as files of a project here, as far as that goes.

References to models and sources become names, and the settings that have an equal here are kept. Any other Jinja is
left as it is and said by file and line: to evaluate it would take dbt itself, and a macro may do anything.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from orchestrator.cli.installation import EXIT_USAGE
from orchestrator.cli.output import Failure, echo, warn
from orchestrator.cli.project import files, yaml_text
from orchestrator.model.plurals import number_of

_LARGEST = 400_000
_MOST_MODELS = 5_000
_STRING = r"""(?:'([^'\\{}]*)'|"([^"\\{}]*)")"""
_REF = re.compile(r"\{\{-?\s*ref\(\s*" + _STRING + r"(?:\s*,\s*" + _STRING + r")?\s*\)\s*-?\}\}")
_SOURCE = re.compile(r"\{\{-?\s*source\(\s*" + _STRING + r"\s*,\s*" + _STRING + r"\s*\)\s*-?\}\}")
_CONFIG = re.compile(r"\{\{-?\s*config\(([^{}]*)\)\s*-?\}\}\s*;?", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_SETTING = re.compile(r"(\w+)\s*=\s*" + _STRING)
_STORED = {"table", "incremental"}
_PLAIN = {"view", "ephemeral"}


class Model(NamedTuple):
    """A model: its view, the sources that it reads, and what could not be taken over, by line."""

    view: dict[str, object]
    sources: set[str]
    left: list[str]


def add_to(main: typer.Typer) -> None:
    """Add the command."""
    main.command("import-dbt")(import_dbt)


def import_dbt(
    project: Annotated[Path, typer.Argument(metavar="DBT_PROJECT", help="The folder with dbt_project.yml.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; it must not exist.")],
    every: Annotated[str, typer.Option(help="How often models that are tables are refreshed.")] = "24hour",
) -> None:
    """Write the models of a dbt project as views in files. Jinja other than ref, source and config is said by line."""
    if folder.exists():
        raise Failure(f"{folder} is there already", EXIT_USAGE)
    if not (project / "dbt_project.yml").is_file():
        raise Failure(f"{project} is no dbt project: there is no dbt_project.yml in it", EXIT_USAGE)
    described = dict(_descriptions(project / "models"))
    models = list(_models(project, every, described))
    views = [model.view for model in models]
    files.write(folder, {"views": views, "tables": []})
    sources = sorted({source for model in models for source in model.sources})
    for line in (line for model in models for line in model.left):
        warn(line)
    echo(f"wrote {number_of(len(views), 'view')} to {folder}")
    if sources:
        echo(f"they read these source tables, to be added to {folder / files.SOURCES}: {', '.join(sources)}")
    if any(model.left for model in models):
        raise Failure("some Jinja was left as it is, see above; replace it by SQL")


def _models(project: Path, every: str, described: Mapping[str, str]) -> Iterator[Model]:
    paths = sorted((project / "models").rglob("*.sql"))
    if not paths:
        raise Failure(f"{project / 'models'} holds no models", EXIT_USAGE)
    if len(paths) > _MOST_MODELS:
        raise Failure(f"{project / 'models'} holds more than {_MOST_MODELS:,} models", EXIT_USAGE)
    for path in paths:
        text = path.read_bytes()[: _LARGEST + 1].decode(errors="replace")
        if len(text) > _LARGEST:
            raise Failure(f"{path} has more than {_LARGEST:,} bytes")
        yield convert(path.stem, text, str(path), every=every, description=described.get(path.stem))


def convert(name: str, text: str, file: str, *, every: str = "24hour", description: str | None = None) -> Model:
    """The view that a model becomes."""
    settings: dict[str, str] = {}

    def config(match: re.Match[str]) -> str:
        settings.update({word: one or other for word, one, other in _SETTING.findall(match[1])})
        return _blank(match[0])

    sources: set[str] = set()

    def source(match: re.Match[str]) -> str:
        table = match[3] or match[4]
        sources.add(table)
        return _quoted(table)

    sql = _COMMENT.sub(lambda match: _blank(match[0]), text)
    sql = _CONFIG.sub(config, sql)
    sql = _REF.sub(lambda match: _quoted(match[3] or match[4] or match[1] or match[2]), sql)
    sql = _SOURCE.sub(source, sql)
    left = [
        f"{file}:{sql.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())[:100]} is not taken over"
        for match in _JINJA.finditer(sql)
    ]
    kind = settings.get("materialized", "view")
    if kind not in _STORED | _PLAIN:
        left.append(f"{file}: materialized='{kind}' has no equal here; it becomes a view that is not materialized")
    view: dict[str, object] = {
        "name": settings.get("alias", name),
        "query": {"kind": "SQLQuery", "query": sql.strip()},
        "description": description,
        "sync_frequency": every if kind in _STORED else None,
        "cron": None,
        "time_zone": None,
        "freshness": "clock",
        "max_staleness": None,
        "column_descriptions": {},
    }
    return Model(view, sources, left)


def _descriptions(folder: Path) -> Iterator[tuple[str, str]]:
    """The descriptions of models in the YAML files below a folder. A file that cannot be read is passed over."""
    for path in sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]):
        try:
            values = yaml_text.load(path.read_text(errors="replace")[:_LARGEST], file=str(path))
        except Failure as failure:
            warn(f"no descriptions are taken from it: {failure}")
            continue
        models = values.get("models")
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict) and isinstance(model.get("description"), str) and model["description"]:
                yield str(model.get("name")), model["description"].strip()


def _blank(text: str) -> str:
    """As many lines, without text, so that the places of errors stay."""
    return "\n" * text.count("\n")


def _quoted(name: str) -> str:
    """A name as SQL: quoted unless it is plain."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else json.dumps(name)
