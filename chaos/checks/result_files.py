"""Reads a result's files as a reader would, and compares them with what their statement promises. Runs in a thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import xxhash

from chaos.checked_queries import CONSTANT, NO_RESULT_KINDS, READING_TWICE, CheckedQuery, examining, revision_of
from chaos.results import Results
from orchestrator.model.snapshot import Manifest

Facts = dict[str, Any]


class Vanished(Exception):
    """A file does not exist."""


@dataclass(frozen=True)
class Result:
    """A snapshot as the catalog or the API describes it."""

    id: str
    run_id: str
    saved_query_id: str
    location: str
    rows: int
    files: Sequence[Mapping[str, Any]]
    inputs: Sequence[Mapping[str, Any]]


@dataclass
class Finding:
    """The outcome of `examine`: the faults of a result, aggregates over its rows, and the statement it is of."""

    wrong: list[str] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)
    checked_query: CheckedQuery | None = None


def examine(result: Result, results: Results, promises: Mapping[int, CheckedQuery], number: int) -> Finding:
    """Check everything that can be wrong with a result of view `number`. Raises Vanished if a file is gone."""
    with results.folder(result.location) as folder:
        return _examine(result, folder, promises, number)


def _examine(result: Result, folder: Path, promises: Mapping[int, CheckedQuery], number: int) -> Finding:
    finding = Finding()
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        paths = [folder / file["name"] for file in result.files]
        for file, path in zip(result.files, paths, strict=True):
            _check_file(finding, result, file, path)
        finding.facts = _facts(paths)
    except FileNotFoundError as error:
        raise Vanished(str(error)) from error
    except duckdb.Error as error:
        if not all(path.exists() for path in paths):
            raise Vanished(str(error)) from error
        finding.wrong.append(f"it cannot be read: {error}")
        return finding
    except Exception as error:  # a damaged file can make a library raise anything
        finding.wrong.append(f"it cannot be read: {error!r}")
        return finding
    _check_manifest(finding, result, manifest)
    revision = revision_of(manifest.sql)
    finding.checked_query = promises.get(-1 if revision is None else revision)
    _check_rows(finding, result, number)
    return finding


def _check_file(finding: Finding, result: Result, file: Mapping[str, Any], path: Path) -> None:
    content = path.read_bytes()
    if len(content) != file["bytes"]:
        finding.wrong.append(f"{path.name} has {len(content)} bytes and should have {file['bytes']}")
    if f"xxh128:{xxhash.xxh3_128_hexdigest(content)}" != file["digest"]:
        finding.wrong.append(f"{path.name} is not what its digest {file['digest']} says")
    marks = pq.read_metadata(path).metadata or {}
    if marks.get(b"run_id", b"").decode() != result.run_id:
        finding.wrong.append(f"{path.name} was written by run {marks.get(b'run_id')!r} and belongs to {result.run_id}")


def _facts(paths: Sequence[Path]) -> Facts:
    with duckdb.connect(config={"threads": "1"}) as connection:
        files = "[" + ", ".join(f"'{path}'" for path in paths) + "]"
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({files})").fetchall()  # noqa: S608 - ours
        cursor = connection.execute(examining(files, {row[0] for row in described}))
        names = [column[0] for column in cursor.description or ()]
        (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def _check_manifest(finding: Finding, result: Result, manifest: Manifest) -> None:
    said = manifest.snapshot
    ours = [(file.name, file.rows, file.bytes, file.digest) for file in said.files]
    theirs = [(file["name"], file["rows"], file["bytes"], file["digest"]) for file in result.files]
    same = (str(said.id), str(said.run_id), said.location, said.rows, ours)
    if same != (result.id, result.run_id, result.location, result.rows, theirs):
        finding.wrong.append(f"its manifest says {same}")


def _check_rows(finding: Finding, result: Result, number: int) -> None:
    facts, promised, wrong = finding.facts, finding.checked_query, finding.wrong
    if promised is None or promised.view != number:
        wrong.append(f"it is of no statement of this view: {promised}")
        return
    if promised.kind in NO_RESULT_KINDS:
        wrong.append(f"a statement that never ends well has a result: {promised.sql}")
    if facts["rows"] != result.rows or (promised.rows is not None and facts["rows"] != promised.rows):
        wrong.append(f"it has {facts['rows']} rows, the catalog says {result.rows}, {promised.rows} promised")
    if not facts["rows"]:
        return
    mixed = [name for name in CONSTANT if facts.get(f"{name}_low") != facts.get(f"{name}_high")]
    if mixed:
        wrong.append(f"its rows differ in {mixed}: {facts}")
    if (facts["rev_low"], facts["view_low"]) != (promised.rev, number):
        wrong.append(f"its rows are of view {facts['view_low']}, revision {facts['rev_low']}, not {promised.rev}")
    rows = facts["rows"]
    if (facts["first"], facts["last"], facts["total"], facts["size_low"]) != (
        0,
        rows - 1,
        rows * (rows - 1) // 2,
        rows,
    ):
        wrong.append(f"rows are missing, or there twice: {facts}")
    if not facts["hashed"] or facts.get("filled") is False:
        wrong.append("its hashes are wrong")
    if promised.kind in READING_TWICE and (facts["rev_a_low"], facts["stamp_a_low"]) != (
        facts["rev_b_low"],
        facts["stamp_b_low"],
    ):
        wrong.append(f"it read two versions of one input: {facts}")
