"""`matview check …`, `matview test` and `matview view publish`, as processes against a real stack."""

from pathlib import Path
from xml.etree import ElementTree as ET

from tests.checks.test_gate import Orders, versions
from tests.support.command_line import Commands, out
from tests.support.tenants import Tenant


async def test_a_check_is_added_seen_to_fail_changed_and_deleted(
    matview: Commands, tenant: Tenant, sources: Path
) -> None:
    orders = Orders(tenant, sources)
    view = await orders.make("1,a", "2,b")
    assert 'orders: added: unique of "id" (error)' in out(
        await matview("check", "add", "orders", "unique", "--column", "id", "--name", "order_ids")
    )
    assert "it has this check already" in out(await matview("check", "add", "orders", "unique", "--column", "id"))
    words = ("accepted_values", "-c", "kind", "--set", 'values=["a", "b"]', "--warn", "--where", "id > 0")
    await matview("check", "add", "orders", *words)
    await matview("view", "run", "orders", "--wait")
    listed = out(await matview("check", "list", "orders")).splitlines()
    assert listed[0].split()[:4] == ["#", "NAME", "CHECK", "SEVERITY"]
    assert "order_ids" in listed[1]
    assert "passed" in listed[1]
    assert 'accepted_values of "kind"' in listed[2]

    orders.write("1,a", "1,x")
    failed = await matview("view", "run", "orders", "--wait", status=1)
    assert b"Not published: order_ids (1 failing row)" in failed.stdout + failed.stderr
    assert out(await matview("check", "rows", "orders", "order_ids")).split()[-2:] == ["1", "2"]
    results = out(await matview("check", "results", "orders", "order_ids"))
    assert "failed" in results
    assert "a run" in results
    stand = 'checks       0 of 2 passed, order_ids failed (error), accepted_values of "kind" failed (warn)\n'
    assert stand in out(await matview("view", "show", "orders"))
    shown = out(await matview("check", "show", "orders", "2"))
    assert '"where": "id > 0"' in shown
    assert '"values": ["a", "b"]' in shown
    # Readers still see what passed.
    assert "passed" in out(await matview("check", "run", "orders", "order_ids"))

    blocked = (await versions(tenant, view))[0]
    assert "readers see version" in out(
        await matview("view", "publish", "orders", blocked["id"], "--reason", "it is known")
    )
    failing = await matview("check", "run", "orders", "1", status=1)
    assert "1 failing row" in out(failing)
    assert "matview query" in out(failing)
    await matview("check", "edit", "orders", "order_ids", "--warn", "--name", "ids")
    assert "ids" in out(await matview("check", "show", "orders", "ids"))
    await matview("check", "delete", "orders", "ids")
    missing = await matview("check", "run", "orders", "ids", status=2)
    assert b"orders has no check 'ids'" in missing.stderr
    await matview("check", "delete", "orders", "", status=2)
    assert "accepted_values" in out(await matview("check", "list", "orders")), "it has no name, and was not meant"
    assert "max_age_minutes" in out(await matview("check", "types", "orders"))


async def test_all_checks_are_made_and_their_results_written_for_ci(
    matview: Commands, tenant: Tenant, sources: Path, folder: Path
) -> None:
    assert "there are no checks" in out(await matview("test"))
    await Orders(tenant, sources).make("1,a", "1,")
    await matview("view", "run", "orders", "--wait")
    await matview("check", "add", "orders", "row_count", "--set", "min=1")
    await matview("check", "add", "orders", "not_null", "-c", "kind", "--warn", "--name", "kinds")
    assert "2 checks: 1 passed, 0 failed, 1 with a warning" in out(await matview("test"))
    await matview("check", "add", "orders", "unique", "-c", "id")
    tested = await matview("test", "orders", "--junit", "results.xml", status=1)
    assert "3 checks: 1 passed, 1 failed, 1 with a warning" in out(tested)
    suite = ET.parse(folder / "results.xml").getroot()  # noqa: S314 - the command has written it
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("name"): [one.tag for one in case] for case in suite}
    assert cases == {"row_count": [], "kinds": ["skipped"], 'unique of "id"': ["failure"]}
    assert {case.get("classname") for case in suite} == {"orders"}
    await matview("check", "add", "raw_orders", "not_null", "-c", "kind")
    assert "not_null of" in out(await matview("check", "list", "raw_orders"))
    assert "1 failing row" in out(await matview("check", "run", "raw_orders", "1", status=1))
    assert "4 checks: 1 passed, 2 failed" in out(await matview("test", status=1))
    await matview("check", "delete", "raw_orders", "1")
