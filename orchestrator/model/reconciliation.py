"""What the reconciler found, and what it did about it."""

from enum import StrEnum

from orchestrator.model.base import Value


class Kind(StrEnum):
    """What can be found. Those that begin with `unknown` are not ours, and are left alone.

    What could not be mended is named, and keeps nothing else from being mended.
    """

    RUN_OVER = "run_over"
    RUN_UNWANTED = "run_unwanted"
    SCHEDULE_MISSING = "schedule_missing"
    SCHEDULE_UNWANTED = "schedule_unwanted"
    SCHEDULE_WRONG = "schedule_wrong"
    VERSION_EXPIRED = "version_expired"
    FILES_UNWANTED = "files_unwanted"
    NOT_MENDED = "not_mended"
    UNKNOWN_SCHEDULE = "unknown_schedule"
    UNKNOWN_FILES = "unknown_files"


class Finding(Value):
    """One thing that was not as it should be. `subject` is its id, `told` what was done or is to be done."""

    kind: Kind
    subject: str
    told: str


class ReconcileRequest(Value):
    """`dry_run` finds and changes nothing."""

    dry_run: bool = False


class Report(Value):
    """All that was found. `findings` are the first ones, as many as a message may hold; `total` counts all."""

    dry_run: bool
    findings: tuple[Finding, ...]
    total: int
