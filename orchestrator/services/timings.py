"""Changes of when a view is refreshed: its frequency, or its cron schedule."""

from orchestrator.catalog.audit_log import record
from orchestrator.catalog.database import Transaction
from orchestrator.model.audit import FieldChange, Verb
from orchestrator.model.base import Value
from orchestrator.model.cron import CronSchedule, normal_cron, parse_cron
from orchestrator.model.errors import Invalid
from orchestrator.model.principal import User
from orchestrator.model.saved_query import SavedQuery, SyncFrequency, Timing
from orchestrator.model.time_zones import UTC_NAME, check_time_zone

_NEVER = SyncFrequency.NEVER


class TimingUpdate(Value):
    """The changes of a view's timing that a client requests: the fields that are set."""

    sync_frequency: SyncFrequency | None = None
    cron: str | None = None
    time_zone: str | None = None

    def is_set(self, field: str) -> bool:
        """Whether the field is to be changed."""
        return field in self.model_fields_set

    @property
    def sets_timing(self) -> bool:
        """Whether it may change the timing. A frequency of null changes nothing, or is refused."""
        return self.sync_frequency is not None or self.is_set("cron") or self.is_set("time_zone")

    @property
    def resumes(self) -> bool:
        """Whether it lifts a pause of the schedule, as any frequency but `never` does, and any cron expression."""
        return self.sync_frequency is not _NEVER and (self.sync_frequency is not None or self.cron is not None)


def timing_after(view: SavedQuery, update: TimingUpdate) -> Timing | None:
    """The timing of a view after an update; None if it is not materialized then either.

    A frequency replaces a cron schedule, `never` pauses it and keeps it. An update that sends all three fields as the
    API showed them changes nothing. Raises Invalid for a cron expression or a time zone that is none, and for fields
    that contradict each other.
    """
    return _timing_after(view.timing, update)


def new_timing(update: TimingUpdate) -> Timing | None:
    """The timing that the fields of a new view state, which may be paused; None: it is not materialized."""
    if update.cron is None and update.sync_frequency is _NEVER and update.time_zone is None:
        return Timing(frequency=_NEVER)
    return _timing_after(None, update, may_be_paused=True)


def resumes(before: Timing | None, after: Timing | None) -> bool:
    """Whether a change of a view's whole timing lifts a pause of its schedule, as TimingUpdate.resumes does for fields.

    Another frequency does unless it is `never`, and so does another cron expression; another time zone alone does not.
    """
    if before is None or after is None or after.frequency is _NEVER:
        return False
    return (before.frequency, _expression(before)) != (after.frequency, _expression(after))


def _expression(timing: Timing) -> str | None:
    return timing.cron.expression if timing.cron else None


def _timing_after(present: Timing | None, update: TimingUpdate, *, may_be_paused: bool = False) -> Timing | None:
    if update.is_set("sync_frequency") and update.sync_frequency is None and present is not None:
        raise Invalid("To undo the materialization of a view, revert it.", attr="sync_frequency")
    cron = _cron_after(present, update)
    if update.cron is not None and cron is not None:
        timing = _agreed(Timing.of_cron(cron), update.sync_frequency)
    elif update.sync_frequency is _NEVER:
        timing = Timing(frequency=_NEVER, cron=cron)
    elif update.sync_frequency is not None:
        timing = Timing(frequency=update.sync_frequency)
    elif present is None:
        return None
    else:
        timing = _without_frequency(present, cron)
    # There is no schedule to pause.
    return None if present is None and timing.frequency is _NEVER and not may_be_paused else timing


async def record_timing(tx: Transaction, view: SavedQuery, after: Timing | None, user: User | None) -> None:
    """Record a change of timing under the verb that describes it. `view` is as it was before."""
    verb = _verb(view.sync_frequency, after.frequency if after else None)
    await record(tx, view, verb, user, timing_changes(view.timing, after))


def timing_changes(before: Timing | None, after: Timing | None) -> list[FieldChange]:
    """The fields in which two timings of a view differ, as its activity shows them."""
    old = timing_fields(before)
    return [
        FieldChange(field=field, action="changed", before=old[field], after=value)
        for field, value in timing_fields(after).items()
        if old[field] != value
    ]


def _cron_after(present: Timing | None, update: TimingUpdate) -> CronSchedule | None:
    """The cron schedule that the update sets or leaves. Raises Invalid."""
    kept = present.cron if present else None
    zone = check_time_zone(update.time_zone) if update.time_zone is not None else None
    if update.cron is not None:
        expression = normal_cron(update.cron)
        parse_cron(expression)
        usual = kept.time_zone if kept and not update.is_set("time_zone") else UTC_NAME
        return CronSchedule(expression=expression, time_zone=zone or usual)
    if update.is_set("cron") or kept is None:
        kept = None
    elif update.is_set("time_zone"):
        kept = CronSchedule(expression=kept.expression, time_zone=zone or UTC_NAME)
    replaced = update.sync_frequency not in {None, _NEVER}
    if zone is not None and (kept is None or replaced):
        raise Invalid("A time zone belongs to a cron expression. Send cron with it.", attr="time_zone")
    return kept


def _agreed(timing: Timing, frequency: SyncFrequency | None) -> Timing:
    """The timing of a cron expression that was sent with a frequency: one that it is shown with, or `never`."""
    if frequency is _NEVER:
        return Timing(frequency=_NEVER, cron=timing.cron)
    if frequency not in {None, timing.frequency}:
        message = f"A view has a frequency or a cron expression. Send one of them, {frequency} or {timing.cron}."
        raise Invalid(message, attr="sync_frequency")
    return timing


def _without_frequency(present: Timing, cron: CronSchedule | None) -> Timing:
    """The timing after an update that sets neither a frequency nor a cron expression."""
    if cron is None and present.cron is not None and present.frequency is not _NEVER:
        message = f"Without the cron expression, the view needs a frequency. Send sync_frequency, {present.frequency}"
        raise Invalid(f"{message} or another one, in place of cron.", attr="cron")
    return Timing(frequency=present.frequency, cron=cron)


def timing_fields(timing: Timing | None) -> dict[str, str | None]:
    """A timing as clients see it."""
    cron = timing.cron if timing else None
    return {
        "sync_frequency": timing.frequency if timing else None,
        "cron": cron.expression if cron else None,
        "time_zone": cron.time_zone if cron else None,
    }


def _verb(before: SyncFrequency | None, after: SyncFrequency | None) -> Verb:
    if before is None:
        return Verb.MATERIALIZATION_ENABLED
    if after is None:
        return Verb.MATERIALIZATION_DISABLED
    if (before is _NEVER) == (after is _NEVER):
        return Verb.UPDATED
    return Verb.SYNC_PAUSED if after is _NEVER else Verb.SYNC_RESUMED
