"""The schema. A test compares it with the migrations, which alone change a database.

Some facts are *not* stored here. Temporal owns whether a schedule is paused, what runs now and when a view runs next.
A view's status is computed from its newest run. `pauses` holds
copies of schedules' pauses, with which a schedule that Temporal has lost is created again.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import Uuid

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


_OPTIONS = "how its files are read; what is not there is as usual"
_LIVE = text("deleted_at IS NULL")
_QUARANTINE = "files beside the result: of rows that were left out, and that checks failed on"


def _created_at() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _project() -> Column[object]:
    return Column("project_id", ForeignKey("projects.id"), nullable=False)


projects = Table(
    "projects",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("limits", JSONB, comment="what its queries may use; null: what the worker allows"),
    _created_at(),
)

users = Table(
    "users",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("uuid", Uuid, nullable=False, unique=True),
    Column("distinct_id", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False, unique=True),
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    _created_at(),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("label", Text, nullable=False),
    # SHA-256 of the token. A generated token is 256 random bits and needs no slow hash. A token that an operator chose
    # is only as safe as it is long.
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("project_ids", ARRAY(Integer), comment="null: every project"),
    Column("hint", Text, comment="how the token begins, for people; null: made before that was kept"),
    Column("expires_at", DateTime(timezone=True), comment="from when on it is refused; null: never"),
    Column("revoked_at", DateTime(timezone=True), comment="since when it is refused, for good"),
    Column("last_used_at", DateTime(timezone=True), comment="written once a minute at most"),
    _created_at(),
)

# Sign-ins to the console, and links that can be followed once to sign in. A session may do what its key may.
console_sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True, comment="SHA-256 of 256 random bits"),
    Column("key_id", ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("is_link", Boolean, nullable=False, comment="a link, which becomes a session when it is followed"),
    _created_at(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

# Views and source tables share one namespace. A name has a row here until its owner is deleted, so that the primary key
# alone prevents two concurrent creations of the same name.
names = Table(
    "names",
    metadata,
    Column("project_id", ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True, comment="lower case"),
    Column("saved_query_id", ForeignKey("saved_queries.id", ondelete="CASCADE"), unique=True),
    Column("source_table_id", ForeignKey("source_tables.id", ondelete="CASCADE"), unique=True),
    CheckConstraint("num_nonnulls(saved_query_id, source_table_id) = 1", name="one_owner"),
)

source_tables = Table(
    "source_tables",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("url_pattern", Text, nullable=False),
    Column("columns", JSONB, nullable=False),
    Column("options", JSONB, nullable=False, server_default=text("'{}'"), comment=_OPTIONS),
    Column(
        "stated", JSONB, nullable=False, server_default=text("'[]'"), comment="the columns whose type a person stated"
    ),
    Column("files", JSONB, comment="their number and bytes when the columns were last read; null: not known"),
    Column("credential", LargeBinary, comment="encrypted"),
    Column("created_by", ForeignKey("users.id")),
    _created_at(),
    Column("deleted_at", DateTime(timezone=True)),
    Index(None, "project_id", "created_at"),
)

saved_queries = Table(
    "saved_queries",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("name", Text, nullable=False),
    Column("description", Text),
    # Both foreign keys are checked at commit: the rows that they refer to are inserted after this one.
    Column(
        "revision_id",
        ForeignKey("revisions.id", deferrable=True, initially="DEFERRED", use_alter=True),
        nullable=False,
    ),
    Column("current_snapshot_id", ForeignKey("snapshots.id", deferrable=True, initially="DEFERRED", use_alter=True)),
    Column("columns", JSONB, nullable=False),
    Column("sync_frequency", Text, comment="null: not materialized"),
    Column("sync_frequency_set_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("cron", Text, comment="the expression of its cron schedule; null: it has none"),
    Column("time_zone", Text, comment="the time zone of its cron schedule"),
    Column("cron_gap_seconds", BigInteger, comment="the longest time between two moments of its cron schedule"),
    Column("freshness", Text, nullable=False, server_default="clock"),
    Column("max_staleness", Text, comment="how old the data of what it reads may be, as a frequency; null: not at all"),
    Column("data_as_of", DateTime(timezone=True), comment="the moment for which its result is known to be right"),
    Column("reverted_at", DateTime(timezone=True), comment="when the materialization was last undone"),
    Column("resumed_at", DateTime(timezone=True), comment="when a person last resumed the schedule; forgives failures"),
    Column("created_by", ForeignKey("users.id")),
    _created_at(),
    Column("deleted_at", DateTime(timezone=True)),
    Index(None, "project_id", "created_at"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("saved_query_id", ForeignKey("saved_queries.id"), nullable=False),
    Column("number", Integer, nullable=False, comment="1 is the first"),
    Column("query", JSONB, nullable=False, comment="as the client sent it"),
    Column("translated", Text, comment="the statement that the Spark cluster runs; null: DuckDB runs the query itself"),
    Column("created_by", ForeignKey("users.id")),
    _created_at(),
    UniqueConstraint("saved_query_id", "number"),
)

# Descriptions of columns, and of source tables. A view's own description is a column of saved_queries.
column_annotations = Table(
    "column_annotations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("saved_query_id", ForeignKey("saved_queries.id", ondelete="CASCADE")),
    Column("source_table_id", ForeignKey("source_tables.id", ondelete="CASCADE")),
    Column("column_key", Text, nullable=False, comment="lower case; empty: the source table itself"),
    Column("column_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_by", ForeignKey("users.id")),
    _created_at(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("saved_query_id", "column_key"),
    UniqueConstraint("source_table_id", "column_key"),
    CheckConstraint("num_nonnulls(saved_query_id, source_table_id) = 1", name="one_owner"),
    CheckConstraint("column_key <> '' OR saved_query_id IS NULL", name="column_of_view"),
)

# Checks of the rows of a view or a source table. A row stays when its check is deleted: its results can still be read.
checks = Table(
    "checks",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("saved_query_id", ForeignKey("saved_queries.id", ondelete="CASCADE")),
    Column("source_table_id", ForeignKey("source_tables.id", ondelete="CASCADE")),
    Column("name", Text),
    Column("description", Text, nullable=False),
    Column("check_type", Text, nullable=False),
    Column("column_name", Text, nullable=False, comment="empty: none"),
    Column("config", JSONB, nullable=False),
    Column("digest", Text, nullable=False, comment="of the type, the column and the config"),
    Column("reads", ARRAY(Text), nullable=False, comment="the names that its statement reads beside its subject"),
    Column("severity", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("created_source", Text, nullable=False),
    Column("ai_model", Text, nullable=False),
    Column("confidence", Float),
    Column("reasoning", Text, nullable=False),
    Column("created_by", ForeignKey("users.id")),
    _created_at(),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("deleted_at", DateTime(timezone=True)),
    CheckConstraint("num_nonnulls(saved_query_id, source_table_id) = 1", name="one_subject"),
    Index("uq_checks_name", "project_id", text("lower(name)"), unique=True, postgresql_where=_LIVE),
    Index("uq_checks_of_view", "saved_query_id", "digest", unique=True, postgresql_where=_LIVE),
    Index("uq_checks_of_table", "source_table_id", "digest", unique=True, postgresql_where=_LIVE),
)

# The results of checks: of a version, published or blocked, or of what was published when a person ran the check.
check_results = Table(
    "check_results",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("check_id", ForeignKey("checks.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), index=True, comment="the run that made it"),
    Column("generation_id", ForeignKey("generations.id"), comment="that checked a source table; else a person did"),
    Column("snapshot_id", ForeignKey("snapshots.id"), index=True, comment="the version that was checked"),
    Column("label", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failing_rows", BigInteger, comment="null: it could not be run"),
    Column("reason", Text),
    Column("sql", Text, comment="selects the failing rows"),
    Column("sample", Text, comment="the file beside the version that holds some of them"),
    _created_at(),
    Index(None, "check_id", "created_at"),
)

# The inputs of a view's current revision, stored when it is saved, so that a run is planned without parsing.
inputs = Table(
    "inputs",
    metadata,
    Column("saved_query_id", ForeignKey("saved_queries.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, comment="in order of appearance"),
    Column("input_view_id", ForeignKey("saved_queries.id"), index=True),
    Column("input_table_id", ForeignKey("source_tables.id"), index=True),
    CheckConstraint("num_nonnulls(input_view_id, input_table_id) = 1", name="one_input"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("saved_query_id", ForeignKey("saved_queries.id"), nullable=False),
    Column("workflow_id", Text, nullable=False),
    Column("workflow_run_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("scheduled_for", DateTime(timezone=True)),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    Column("revision_id", ForeignKey("revisions.id")),
    Column("attempt", Integer, nullable=False, server_default="0", comment="which attempt may publish"),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("snapshot_id", ForeignKey("snapshots.id", use_alter=True)),
    Column("error", Text),
    Column("error_code", Text),
    Column("skipped_reason", Text, comment="why its query did not run"),
    Column("generation_id", ForeignKey("generations.id"), index=True),
    Column("parents", ARRAY(Uuid), comment="the views of its generation that it waits for"),
    Column(
        "policy_due",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="it ended without a word: what follows from its failure is still to be done",
    ),
    Index(None, "saved_query_id", "started_at"),
    CheckConstraint("(status = 'Running') = (finished_at IS NULL)", name="finished_unless_running"),
    Index("ix_runs_running", "started_at", postgresql_where=text("status = 'Running'")),
    # The right to run a view: the workflow whose row this is has it, until the row is closed.
    Index("uq_runs_open", "saved_query_id", unique=True, postgresql_where=text("status = 'Running'")),
    # A view may have thousands of skipped runs after the last one that ran its query.
    Index("ix_runs_unskipped", "saved_query_id", "started_at", postgresql_where=text("status <> 'Skipped'")),
    Index("ix_runs_policy_due", "started_at", postgresql_where=text("policy_due")),
)

generations = Table(
    "generations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("workflow_id", Text, nullable=False),
    Column("selection", JSONB, nullable=False),
    Column("publish", Text, nullable=False, comment="what is published if a member fails"),
    Column("full_refresh", Boolean, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_by", ForeignKey("users.id"), comment="null: a schedule, or an operator"),
    _created_at(),
    Column("started_at", DateTime(timezone=True), comment="since when it holds its members; null: it waits for them"),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("(status = 'Running') = (finished_at IS NULL)", name="finished_unless_running"),
    Index(None, "project_id", "created_at"),
    Index("ix_generations_running", "project_id", "created_at", postgresql_where=text("status = 'Running'")),
)

# The steps of open runs pass this to one another. It is deleted when their generation has ended.
run_plans = Table(
    "run_plans",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("plan", JSONB, nullable=False),
    Column("snapshot", JSONB, comment="what was written and sealed, and is not published yet"),
    Column("unchanged_id", Uuid, comment="the version that stays, since nothing has changed"),
    Column("unchanged_reason", Text),
    Column("spent", Integer, nullable=False, server_default="0", comment="attempts that were outdated: no tries"),
    Column("checks", JSONB, comment="the results of the checks of what was written"),
)

# The ticks of schedules that wait for others of their project, or for the end of the generation that they follow.
ticks = Table(
    "ticks",
    metadata,
    Column("id", Uuid, primary_key=True, comment="the run id of its workflow"),
    Column("workflow_id", Text, nullable=False),
    Column("project_id", ForeignKey("projects.id"), nullable=False, index=True),
    Column("saved_query_id", ForeignKey("saved_queries.id"), nullable=False),
    Column("scheduled_for", DateTime(timezone=True)),
    _created_at(),
    Column("generation_id", ForeignKey("generations.id"), index=True, comment="null: it waits for other ticks"),
)

# The files of source tables as a generation, or a try, reads them, listed once. They are deleted when it has ended.
# Copies of tables of databases. The row is there before the files, and goes after them.
source_copies = Table(
    "source_copies",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("source_table_id", ForeignKey("source_tables.id"), nullable=False, index=True),
    Column("generation_id", Uuid, nullable=False, comment="that makes it, or made it"),
    Column("url", Text, nullable=False),
    Column("columns", JSONB, nullable=False),
    Column("location", Text, nullable=False),
    Column("file", JSONB, comment="null: it is being made, as all below"),
    Column("content", Text, comment="digest of its rows"),
    Column("read_at", DateTime(timezone=True), comment="by the clock of the database"),
    Column("superseded_at", DateTime(timezone=True), comment="when there was a newer one"),
    Column("removed_at", DateTime(timezone=True), comment="when it was found to be needed no more"),
    _created_at(),
)

source_pins = Table(
    "source_pins",
    metadata,
    Column("generation_id", Uuid, primary_key=True),
    Column("source_table_id", ForeignKey("source_tables.id"), primary_key=True),
    Column("round", Integer, primary_key=True, comment="0, and one more each time that the files had changed"),
    Column("listing", LargeBinary, comment="compressed JSON, since names of files need not be Unicode; null: outdated"),
    Column("copy_id", ForeignKey("source_copies.id"), index=True, comment="of a table of a database"),
)

# Edits that were run and are not saved, and with each the views that read the edited one: its members have a row each,
# with their own query. A promoted one becomes a run of the same id, and its query the revision of the id `revision_id`.
# A row stays until its files are gone.
tries = Table(
    "tries",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("saved_query_id", ForeignKey("saved_queries.id"), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("query", JSONB, nullable=False, comment="as the client sent it"),
    Column("revision_id", Uuid, nullable=False),
    Column("base_revision_id", ForeignKey("revisions.id"), nullable=False, comment="what the edit started from"),
    Column("base_snapshot_id", ForeignKey("snapshots.id"), comment="the version that was current then; null: none"),
    Column("plan", JSONB, nullable=False, comment="its text, and its inputs as they were then"),
    Column("attempt", Integer, nullable=False, server_default="0", comment="which attempt may record a result"),
    Column("spent", Integer, nullable=False, server_default="0", comment="attempts that were outdated: no tries"),
    Column("snapshot", JSONB, comment="what was written and sealed"),
    Column("error", Text),
    Column("error_code", Text),
    Column("workflow_run_id", Uuid, comment="null: it has not begun"),
    Column("created_by", ForeignKey("users.id"), nullable=False),
    _created_at(),
    Column("finished_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("removed_at", DateTime(timezone=True), comment="since when no client sees it, and its files may be deleted"),
    Column("member_of", ForeignKey("tries.id"), index=True, comment="the try that this is a member of; null: none"),
    Column(
        "position",
        Integer,
        nullable=False,
        server_default="0",
        comment="its place among the members, after those that it reads; 0: the edited view",
    ),
    CheckConstraint("(status = 'Running') = (finished_at IS NULL)", name="finished_unless_running"),
    Index(None, "project_id", "created_at"),
)

# The pauses that Temporal last reported, for schedules that have to be created again; see saved_pauses.py.
pauses = Table(
    "pauses",
    metadata,
    Column("saved_query_id", ForeignKey("saved_queries.id", ondelete="CASCADE"), primary_key=True),
    Column("note", Text, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("saved_query_id", ForeignKey("saved_queries.id"), nullable=False, index=True),
    Column("run_id", ForeignKey("runs.id"), nullable=False, unique=True),
    Column("revision_id", ForeignKey("revisions.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("location", Text, nullable=False, unique=True, comment="the store's key of its folder"),
    Column("files", JSONB, nullable=False),
    Column("quarantine", JSONB, nullable=False, server_default=text("'[]'"), comment=_QUARANTINE),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("columns", JSONB, nullable=False),
    Column("inputs", JSONB, nullable=False, comment="what it was made from, exactly"),
    Column("engine_version", Text, nullable=False),
    Column("recipe", Text, comment="digest of all that decides it but its inputs"),
    Column(
        "deterministic",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="the same recipe and inputs give it again",
    ),
    Column("content", Text, comment="digest of its rows, once one was needed"),
    Column("created_at", DateTime(timezone=True), nullable=False),
    # By PostgreSQL's clock, unlike created_at, so that it can be compared with the other times in the database.
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("superseded_at", DateTime(timezone=True), comment="since when it is not the current one; null: it is"),
    Column("removed_at", DateTime(timezone=True), comment="since when its files may be deleted; nobody may choose it"),
    Column("pinned", Boolean, nullable=False, server_default=false(), comment="kept whatever its age"),
    Column(
        "blocked_at", DateTime(timezone=True), comment="since when its checks keep it from readers; null: they do not"
    ),
    Index("ix_snapshots_kept", "saved_query_id", "published_at", postgresql_where=text("removed_at IS NULL")),
)

# The snapshots that a run reads. Their files are kept while the run is Running, so a lease needs no end of its own.
leases = Table(
    "leases",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("snapshot_id", ForeignKey("snapshots.id"), primary_key=True, index=True),
)

# Queries and downloads in progress in some API process. A process renews those of its own, so that the row of a read
# whose process was killed ends by itself.
reads = Table(
    "reads",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("client_query_id", Text, comment="by which the client cancels it"),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="renewed while its process lives"),
    Column("cancelled_at", DateTime(timezone=True), comment="since when its process is to end it"),
)

# The snapshots that a read reads. Their files are kept as long as the read is there and has not expired.
read_leases = Table(
    "read_leases",
    metadata,
    Column("read_id", ForeignKey("reads.id", ondelete="CASCADE"), primary_key=True),
    Column("snapshot_id", ForeignKey("snapshots.id"), primary_key=True, index=True),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Uuid, primary_key=True),
    _project(),
    Column("scope", Text, nullable=False),
    Column("item_id", Uuid, nullable=False),
    Column("item_name", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("changes", JSONB, nullable=False),
    Column("user_id", ForeignKey("users.id"), comment="null: the system"),
    _created_at(),
    Index(None, "item_id", "created_at"),
    Index(None, "project_id", "created_at"),
)
