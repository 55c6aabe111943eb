"""A view that several files of tests read."""

import pytest

from tests.support.tenants import Json, Tenant


@pytest.fixture
async def numbers(tenant: Tenant) -> Json:
    return await tenant.materialized("ns.numbers", "SELECT i AS id, 'row ' || i AS name FROM range(1000) t(i)")
