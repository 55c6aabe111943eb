"""The manifest and the manifest list of a snapshot, as Avro files, made by pyiceberg's own writers.

They are made when a client first loads the table, not when a run publishes: most views are never read this way, and
pyiceberg takes half a second to load.
"""

import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.iceberg.schema import Schema
from orchestrator.model.snapshot import SnapshotFile


class Manifests(NamedTuple):
    """The contents of the two files."""

    manifest: bytes
    manifest_list: bytes


def write_manifests(
    schema: Schema,
    files: Sequence[tuple[str, SnapshotFile]],
    *,
    snapshot_id: int,
    sequence: int,
    manifest_url: str,
) -> Manifests:
    """The manifests of a snapshot with these files, each with its URL. They take milliseconds, after the first call."""
    # Loaded by the first client that reads a table.
    from pyiceberg.manifest import (  # noqa: PLC0415
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestEntry,
        ManifestEntryStatus,
        write_manifest,
        write_manifest_list,
    )
    from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC  # noqa: PLC0415
    from pyiceberg.schema import Schema as ParsedSchema  # noqa: PLC0415
    from pyiceberg.typedef import Record  # noqa: PLC0415

    manifest_file = _in_memory(manifest_url)
    with write_manifest(
        2,
        UNPARTITIONED_PARTITION_SPEC,
        ParsedSchema.model_validate_json(json.dumps(schema.numbered(0))),
        manifest_file,
        snapshot_id,
        "deflate",
    ) as writer:
        for url, file in files:
            data_file = DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=url,
                file_format=FileFormat.PARQUET,
                partition=Record(),
                record_count=file.rows,
                file_size_in_bytes=file.bytes,
            )
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, data_file=data_file
            )
            writer.add_entry(entry)
    list_file = _in_memory(f"{manifest_url}-list")
    with write_manifest_list(2, list_file, snapshot_id, None, sequence, "deflate") as lists:
        lists.add_manifests([writer.to_manifest_file()])
    return Manifests(manifest_file.content, list_file.content)


def _in_memory(location: str) -> Any:  # noqa: ANN401 - a class that is made below
    from pyiceberg.io import OutputFile  # noqa: PLC0415

    class Memory(OutputFile):
        """A file of pyiceberg's that is kept in memory, so that the store writes it like every other file."""

        content = b""

        def __len__(self) -> int:
            return len(self.content)

        def exists(self) -> bool:
            return False

        def to_input_file(self) -> Any:  # noqa: ANN401 - not called
            raise NotImplementedError

        def create(self, overwrite: bool = False) -> Any:  # noqa: ANN401, ARG002 - pyiceberg's signature
            memory = self

            class Stream(io.BytesIO):
                def close(self) -> None:
                    if not self.closed:
                        memory.content = self.getvalue()
                    super().close()

            return Stream()

    return Memory(location)
