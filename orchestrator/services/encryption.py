"""Encryption of stored secrets, with a key that is not in the database."""

from cryptography.fernet import Fernet

from orchestrator.model.errors import Invalid


class Encryptor:
    """Encrypts secrets before the catalog stores them. Without a key it refuses to, so that none is stored readable."""

    def __init__(self, key: str | None) -> None:
        """`key` is 32 bytes in URL-safe base64, as Fernet takes them. Raises ValueError if it is not."""
        self._fernet = Fernet(key) if key else None

    def encrypt(self, text: str) -> bytes:
        """The text, encrypted. Raises Invalid if this installation has no key."""
        if self._fernet is None:
            raise Invalid(
                "This installation keeps no credentials: its operator has to set MATVIEW_SECRET_KEY.", attr="credential"
            )
        return self._fernet.encrypt(text.encode())
