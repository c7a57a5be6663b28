"""The installation's master key, made once with mode 0600, and what is derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from db.errors import Misconfigured


class Keys:
    """One master key's purposes: sealing payloads and columns, pseudonyms, the audit chain."""

    def __init__(self, master: bytes) -> None:
        if len(master) != 32:
            raise Misconfigured(
                f"the master key should be 32 bytes, got {len(master)}; restore it from backup"
            )
        self.id = hashlib.sha256(b"wetread key id" + master).hexdigest()[:8]
        self.archive = _derive(master, "archive")
        self.audit = _derive(master, "audit")
        self._pseudonym = _derive(master, "pseudonym")
        self._columns = AESGCM(_derive(master, "columns"))

    def pseudonym(self, prefix: str, *parts: str) -> str:
        """A keyed, stable name for what must not be named: 80 bits of HMAC-SHA-256, as prefix-hex."""
        message = "\x1f".join(parts).encode("utf-8", "surrogateescape")  # file names may be no UTF-8
        return f"{prefix}-{hmac.digest(self._pseudonym, message, 'sha256').hex()[:20]}"

    def seal(self, text: str, where: str) -> bytes:
        """A short text encrypted for one place (`table.column:row`), which is authenticated with it."""
        nonce = os.urandom(12)
        return nonce + self._columns.encrypt(nonce, text.encode("utf-8", "surrogateescape"), where.encode())

    def unseal(self, sealed: bytes, where: str) -> str:
        """The text again. Raises Misconfigured under another key, or when it was moved or changed."""
        try:
            plain = self._columns.decrypt(sealed[:12], sealed[12:], where.encode())
            return plain.decode("utf-8", "surrogateescape")
        except InvalidTag as error:
            raise Misconfigured(
                f"{where.partition(':')[0]}: cannot be unsealed with key {self.id}"
            ) from error


def _derive(master: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"wetread/{purpose}/1".encode()).derive(master)


def create(path: Path) -> Keys:
    """The keys at a path, made there (0600, never overwriting) when there are none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with suppress(FileExistsError):  # another process was first: its key stands
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return load(path)


def load(path: Path) -> Keys:
    """The keys at a path. Raises Misconfigured when missing, malformed, or readable by others."""
    try:
        mode = path.stat().st_mode & 0o777
        master = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise Misconfigured(
            f"{path.name}: no master key; start once with `wetread up`, or restore it"
        ) from None
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{path.name}: unreadable master key ({type(error).__name__}); restore it from backup"
        ) from None
    if mode & 0o077:
        raise Misconfigured(f"{path.name}: mode is {mode:o}, expected 600; run chmod 600 on it")
    return Keys(master)
