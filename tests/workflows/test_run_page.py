"""The page of a run in the Temporal UI: the text of an author is shown there, and is never read as Markdown."""

import re
from itertools import pairwise
from uuid import uuid4

from orchestrator.model.run import RunPlan, RunRequest, RunStatus, SourceRelation, Trigger
from orchestrator.model.source_table import SourceFormat
from orchestrator.temporal.run_page import inputs_of, members_page, render

HOSTILE = [
    "](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "`` ` ``` [click](http://evil.example)",
    "</code></pre><script>alert(1)</script>",
    "\n\n# Completed\n\n[log in](http://evil.example)",
    "\r\r**Completed**\u2028# Completed\x85# Completed",
    "\x1b[2J\u202e",
]


def page(message: str, sql: str, pattern: str) -> str:
    view = uuid4()
    source = SourceRelation(name="t", id=uuid4(), format=SourceFormat.PARQUET, url_pattern=pattern, columns=())
    plan = RunPlan(
        run_id=uuid4(), generation_id=uuid4(), project_id=1, saved_query_id=view, revision_id=uuid4(), name="v",
        sql=sql, relations=(source,), timeout_seconds=1, trigger=Trigger.API,
    )  # fmt: skip
    inputs = inputs_of(plan, "http://matview.example/v", "default")
    members = members_page({"waiting": (1, ["v"])}, {RunStatus.FAILED: 1}, [f"v: {message}"], ["`v`: The query runs"])
    return render(RunRequest(saved_query_id=view), "Failed", message=message, more=f"{inputs}\n{members}")


def test_what_an_author_wrote_is_only_ever_code() -> None:
    for text in HOSTILE:
        for shown in (page(text, "SELECT 1", "/data/x"), page("", text, "/data/x"), page("", "SELECT 1", text)):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", shown)
            own = [line for line in shown.split("\n") if not line.startswith("    ")]
            outside = [re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", line) for line in own]
            assert not [line for line in outside if "evil" in line or "script" in line or "Completed" in line], own
            filled = [line for line in shown.split("\n") if line.strip()]
            # Behind an item of a list, an indented line would be a part of that item and no code.
            assert not [line for before, line in pairwise(filled) if before[:2] == "- " and line[:4] == "    "]


def test_a_text_of_any_length_is_cut_before_it_is_looked_at() -> None:
    assert len(page("\n" * 5_000_000, "SELECT 1", "x")) < 50_000
    assert len(page("x" * 5_000_000, "x" * 5_000_000, "x")) < 50_000
