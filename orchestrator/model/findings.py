"""The findings of the reconciler, and the report of them."""

from enum import StrEnum

from orchestrator.model.base import Value


class FindingKind(StrEnum):
    """Kinds of differences. Those that begin with `unknown` belong to another installation and are left alone.

    The values are labels of metrics and part of Temporal's histories, so they keep their older words.
    """

    RUN_ENDED = "run_over"
    RUN_ORPHANED = "run_unwanted"
    SCHEDULE_MISSING = "schedule_missing"
    SCHEDULE_ORPHANED = "schedule_unwanted"
    SCHEDULE_DRIFTED = "schedule_wrong"
    VERSION_EXPIRED = "version_expired"
    TRY_EXPIRED = "try_expired"
    COPY_EXPIRED = "copy_expired"
    CURRENT_OUTDATED = "current_outdated"
    FILES_ORPHANED = "files_unwanted"
    REPAIR_FAILED = "not_mended"
    UNKNOWN_SCHEDULE = "unknown_schedule"
    UNKNOWN_FILES = "unknown_files"


class Finding(Value):
    """One difference. `subject` is the id of what differs, `message` says what was or, in a dry run, is to be done."""

    kind: FindingKind
    subject: str
    message: str


class ReconcileRequest(Value):
    """`dry_run` finds differences and changes nothing."""

    dry_run: bool = False


class ReconcileReport(Value):
    """The result of a reconciliation. `findings` are the first, as many as a message may hold; `total` counts all."""

    dry_run: bool
    findings: tuple[Finding, ...]
    total: int
