"""A client reads the certificates of authorities if it speaks TLS, and is spared that if it does not."""

import ssl

import httpx
import pytest

from matview.transport import Transport
from orchestrator.cli.api_client import Api


def trusted(client: httpx.Client) -> int:
    """How many authorities a client trusts. Fails if it does not check who a server is."""
    transport = client._transport
    assert isinstance(transport, httpx.HTTPTransport)
    context = transport._pool._ssl_context
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    return context.cert_store_stats()["x509_ca"]


@pytest.mark.parametrize(("scheme", "trusts"), [("https", True), ("http", False)])
def test_only_a_client_that_speaks_tls_has_read_the_certificates_of_authorities(scheme: str, *, trusts: bool) -> None:
    command, library = Api(f"{scheme}://api.example", "k", 1), Transport(f"{scheme}://api.example", "k", 1.0)
    with command:
        assert (trusted(command._client) > 0) is trusts
    assert (trusted(library._http) > 0) is trusts
    library.close()
