"""Registers the search attributes by which people filter in the Temporal UI."""

import logging

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from orchestrator.temporal import contract
from orchestrator.temporal.client import RPC_TIMEOUT, translate_rpc_errors

logger = logging.getLogger(__name__)


async def missing_attributes(client: Client) -> list[str]:
    """The required search attributes that the namespace lacks or has as another type. Raises TemporalUnavailable."""
    with translate_rpc_errors():
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
        )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    return [name for name in contract.SEARCH_ATTRIBUTES if listed.custom_attributes.get(name) != keyword]


async def register_attributes(client: Client) -> list[str]:
    """Register the missing attributes; returns those that could not be registered. Safe to repeat.

    Nothing depends on them. If the namespace forbids it or has as many as it may, this is only logged. Raises
    TemporalUnavailable.
    """
    missing = await missing_attributes(client)
    if not missing:
        return []
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, keyword))
    try:
        await client.operator_service.add_search_attributes(request, timeout=RPC_TIMEOUT)
    except RPCError as error:
        logger.warning("search attributes cannot be registered in %s: %s", client.namespace, error.message)
    return await missing_attributes(client)
