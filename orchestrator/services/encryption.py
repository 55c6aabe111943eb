"""Encryption of stored secrets, with a key that is not in the database."""

from cryptography.fernet import Fernet, InvalidToken

from orchestrator.model.errors import Invalid


class Encryptor:
    """Encrypts secrets before the catalog stores them. Without a key it refuses to, so that none is stored as it is."""

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

    def decrypt(self, sealed: bytes) -> str:
        """A text that was encrypted. Raises Invalid if this installation has no key, or another one."""
        if self._fernet is None:
            raise Invalid("The credential is encrypted: this process needs MATVIEW_SECRET_KEY.", attr="credential")
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise Invalid(
                "The credential was encrypted with another MATVIEW_SECRET_KEY. Give it again.", attr="credential"
            ) from None
