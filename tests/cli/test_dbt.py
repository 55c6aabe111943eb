"""The models of a dbt project become views, and what cannot is said by file and line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.project import files
from orchestrator.cli.project.dbt import convert

MODELS = {
    "staging/stg_orders.sql": (
        "{{ config(materialized='view') }}\n\nselect id, amount from {{ source('shop', 'raw_orders') }}\n"
    ),
    "marts/revenue.sql": (
        "{{\n  config(\n    materialized = \"table\",\n    tags=['x']\n  )\n}}\n"
        "{# a note #}\nselect sum(o.amount) as revenue from {{ ref('stg_orders') }} o\n"
    ),
    "marts/other.sql": "select 1 as n from {{ ref('shop', \"stg_orders\") }}",
}
SCHEMA = "version: 2\nmodels:\n  - name: revenue\n    description: All of it\n  - name: other\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "dbt"
    for name, text in MODELS.items():
        path = folder / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "dbt_project.yml").write_text("name: shop\n")
    (folder / "models" / "schema.yml").write_text(SCHEMA)
    return folder


def test_models_become_views_that_read_one_another_by_name(shop: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import-dbt", str(shop), str(tmp_path / "out"), "--every", "6hour"])
    assert done.exit_code == 0, done.output
    assert "raw_orders" in done.stdout
    views = {key: one.definition for key, one in files.read(tmp_path / "out").views.items()}
    assert views["stg_orders"]["query"]["query"] == "select id, amount from raw_orders"
    assert views["revenue"] == {
        "name": "revenue",
        "query": {"kind": "SQLQuery", "query": "select sum(o.amount) as revenue from stg_orders o"},
        "description": "All of it",
        "sync_frequency": "6hour",
    }
    assert views["other"]["query"]["query"] == "select 1 as n from stg_orders"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "select 1\n{% if is_incremental() %}\nwhere 1\n{% endif %}",
            ["m.sql:2: {% if is_incremental() %}", "m.sql:4"],
        ),
        ("select {{ dbt_utils.star(ref('a')) }} from x", ["m.sql:1: {{ dbt_utils.star(ref('a')) }}"]),
        ("{{ config(materialized='table') }}\nselect '{{ var(\"x\") }}'", ['m.sql:2: {{ var("x") }}']),
        ("{{ config(materialized='snapshot') }} select 1", ["materialized='snapshot' has no equal"]),
        ("select * from {{ ref(var('a')) }}", ["m.sql:1"]),
    ],
)
def test_other_jinja_is_named_with_its_line(text: str, said: list[str]) -> None:
    left = convert("m", text, "m.sql").left
    assert len(left) == len(said)
    assert all(one in line for one, line in zip(said, left, strict=True)), left


def test_jinja_that_is_left_makes_the_command_fail_after_it_has_written(shop: Path, tmp_path: Path) -> None:
    (shop / "models" / "more.sql").write_text("select {{ var('x') }} as x")
    done = CliRunner().invoke(app, ["import-dbt", str(shop), str(tmp_path / "out")])
    assert "replace it by SQL" in str(done.exception)
    assert "{{ var('x') }} is not taken over" in done.stderr
    assert "more" in files.read(tmp_path / "out").views


def test_a_folder_that_is_no_dbt_project_or_is_there_is_refused(shop: Path, tmp_path: Path) -> None:
    for arguments in ((str(tmp_path), str(tmp_path / "out")), (str(shop), str(shop))):
        done = CliRunner().invoke(app, ["import-dbt", *arguments])
        assert done.exit_code != 0
        assert not (tmp_path / "out").exists()
