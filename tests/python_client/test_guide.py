"""The Python of the guide, run as it is written."""

import re
import sys

from orchestrator.devstack.stack import DevStack
from tests.python_client.support import ROOT, ran, variables
from tests.support.tenants import Tenant

SECTION = (ROOT / "docs" / "reading.md").read_text().partition("## In Python\n")[2].partition("\n## ")[0]


async def test_the_examples_of_the_guide_run(stack: DevStack, tenant: Tenant) -> None:
    await tenant.materialized("orders_by_day", "SELECT i AS day, i * 1.5 AS amount FROM range(5) t(i)")
    environment = variables(stack, tenant)
    blocks = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
    assert len(blocks) == 2
    first, second = (
        block.replace("http://127.0.0.1:8000", environment["MATVIEW_API_URL"]).replace("mv_…", tenant.token)
        for block in blocks
    )
    told = await ran(sys.executable, f"{first}\nprint(len(frame), best.num_rows)", {}, ROOT)
    assert "Column(name='day', type='BIGINT')" in told
    assert told.splitlines()[-1] == "5 3"
    assert await ran(sys.executable, f"{second}\nprint(first.num_rows)", environment, ROOT) == "5\n"
