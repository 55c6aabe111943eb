"""TLS to PostgreSQL: the certificate is held to the name, though an address that was checked is connected to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.model.errors import InvalidSource
from orchestrator.model.source_table import Credential
from orchestrator.remote_sources.addresses import Server
from orchestrator.remote_sources.databases.locations import AllowedServers, Tls
from orchestrator.remote_sources.databases.postgres import PostgresSession
from orchestrator.remote_sources.databases.sessions import Target
from tests.support.postgres_server import PASSWORD, USER, PostgresServer

# Nothing resolves it: who connects by it has not used the address.
NAME = "db.example.invalid"
_REQUEST_OF_TLS = bytes.fromhex("0000000804d2162f")


@dataclass(frozen=True)
class TlsServer:
    port: int
    certificate: Path
    other: Path

    async def connect(
        self, mode: str, authorities: Path | None = None, name: str = NAME, password: str = PASSWORD
    ) -> None:
        target = Target(
            Server(name, self.port),
            ["127.0.0.1"],
            "postgres",
            Credential(access_key=USER, access_secret=password),
            Tls(mode, None if authorities is None else str(authorities)),
        )
        await asyncio.to_thread(lambda: PostgresSession(target, 10).close())


@pytest.fixture
async def server(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[TlsServer]:
    """TLS before the server of the tests, whose build has none: it answers the request for TLS as PostgreSQL does."""
    certificate, key = _certificate(tmp_path / "own", NAME)
    other, _ = _certificate(tmp_path / "other", NAME)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            if await reader.readexactly(8) != _REQUEST_OF_TLS:
                return
            writer.write(b"S")
            await writer.start_tls(context)
            upstream, down = await asyncio.open_connection("127.0.0.1", postgres.port)
            await asyncio.gather(_pass(reader, down), _pass(upstream, writer))
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield TlsServer(listening.sockets[0].getsockname()[1], certificate, other)
    listening.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    writer.close()


def _certificate(stem: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = stem.with_suffix(".pem"), stem.with_suffix(".key")
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return certificate, private


async def test_the_address_is_connected_to_and_the_name_is_held_to_the_certificate(server: TlsServer) -> None:
    await server.connect("verify-full", server.certificate)
    await server.connect("require")
    with pytest.raises(InvalidSource, match="certificate"):
        await server.connect("verify-full", server.other)
    with pytest.raises(InvalidSource, match="does not match host name"):
        await server.connect("verify-full", server.certificate, name="other.example.invalid")
    await server.connect("verify-ca", server.certificate, name="other.example.invalid")


async def test_an_error_of_a_connection_does_not_hold_the_password(server: TlsServer) -> None:
    with pytest.raises(InvalidSource, match="password authentication failed") as caught:
        await server.connect("verify-full", server.certificate, password="wrong-and-secret")  # noqa: S106 - of a test
    assert "wrong-and-secret" not in str(caught.value)


def test_tls_with_a_certificate_for_the_name_is_what_an_entry_means_unless_it_says_otherwise() -> None:
    entries = ["db.internal:5432", "localhost:5432", "[::1]:5433", "old.internal:3306?sslmode=disable"]
    allowed = AllowedServers([*entries, "ca.internal:5432?sslmode=verify-ca&sslrootcert=/etc/ca.pem"])
    modes = {server.host: allowed.tls_of(server).mode for server in allowed.servers}
    assert modes == {
        "db.internal": "verify-full",
        "localhost": "disable",
        "::1": "disable",
        "old.internal": "disable",
        "ca.internal": "verify-ca",
    }
    assert allowed.tls_of(Server("ca.internal", 5432)).authorities == "/etc/ca.pem"
    with pytest.raises(InvalidSource, match="MATVIEW_SOURCE_DATABASES"):
        allowed.tls_of(Server("db.internal", 5433))
