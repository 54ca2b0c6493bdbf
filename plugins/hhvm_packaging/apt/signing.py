"""Signing with a key that exists only while it is used, and verifying."""

from __future__ import annotations

import io
import logging
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import gnupg

from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Generator

# At DEBUG python-gnupg logs the keys that it imports.
logging.getLogger("gnupg").setLevel(logging.INFO)

_OPTIONS = [
    "--digest-algo=SHA512",
    # A key that asks for a passphrase fails at once rather than waiting for somebody to type it.
    "--pinentry-mode=loopback",
]


log = logging.getLogger(__name__)

EXPIRY_WARNING = timedelta(days=60)
"""How long before the key expires each use of it warns: users need time to get its successor."""


class UnusableKey(PackagingError):
    """The key cannot be read, or cannot sign. The message never holds any of it."""


class BadSignature(PackagingError):
    """The signature is absent, wrong, or made with a key that is not trusted."""


class Signer:
    """Signs with one private key, which leaves no trace once the ``with`` statement ends.

    Public keys may follow the private one: those of earlier signers, when the key is replaced. They are
    in ``public_key()`` too, so that what they signed still verifies.

    Entering raises UnusableKey if the text does not hold one private key, or if it is expired or revoked.
    """

    fingerprint: str
    """Of the primary key."""
    expires: datetime | None
    """When it can no longer sign; None where it does not expire."""

    def __init__(self, private_key: str) -> None:
        """``private_key``: armored, without a passphrase."""
        self._private_key = private_key

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._gpg = stack.enter_context(_keyring(self._private_key.encode()))
            self.fingerprint = self._usable_key()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _usable_key(self) -> str:
        private = [key["fingerprint"] for key in self._gpg.list_keys(secret=True)]
        if len(private) != 1:
            raise UnusableKey(f"one armored private key is needed to sign with; {len(private)} were found")
        (key,) = self._gpg.list_keys(keys=private)
        fingerprint: str = key["fingerprint"]
        if key["trust"] == "r":
            raise UnusableKey(f"the signing key {fingerprint} is revoked")
        self.expires = _expiry(key)
        now = datetime.now(UTC)
        if self.expires and self.expires <= now:
            raise UnusableKey(f"the signing key {fingerprint} expired on {self.expires:%Y-%m-%d %H:%M} UTC")
        if self.expires and self.expires - now < EXPIRY_WARNING:
            log.warning(
                "The signing key %s expires on %s, in %d days: extend it or replace it, and give users the "
                "new public key before that",
                fingerprint,
                f"{self.expires:%Y-%m-%d %H:%M} UTC",
                (self.expires - now).days,
            )
        return fingerprint

    def clearsign(self, content: bytes) -> bytes:
        """The text with its signature around it, as in InRelease. Raises UnusableKey."""
        return self._sign(io.BytesIO(content))

    def detach(self, content: bytes | Path) -> bytes:
        """The armored signature of the bytes or of the file, which is streamed. Raises UnusableKey."""
        if isinstance(content, bytes):
            return self._sign(io.BytesIO(content), detach=True)
        with content.open("rb") as file:
            return self._sign(file, detach=True)

    def _sign(self, file: io.BufferedIOBase, *, detach: bool = False) -> bytes:
        result = self._gpg.sign_file(file, keyid=self.fingerprint, detach=detach)
        if not result:
            reason = result.status or "is it protected by a passphrase?"
            raise UnusableKey(f"gpg cannot sign with the key {self.fingerprint}: {reason}")
        signature: bytes = result.data
        return signature

    def public_key(self) -> bytes:
        """What users verify with, armored."""
        keys: str = self._gpg.export_keys([key["fingerprint"] for key in self._gpg.list_keys()])
        return keys.encode()


def verify(content: bytes | Path, signature: bytes, public_keys: bytes) -> str:
    """The fingerprint of the primary key, one of ``public_keys``, whose detached signature this is.

    Raises BadSignature for any other signature, and for one whose key is expired or revoked; UnusableKey
    if ``public_keys`` has no key.
    """
    with _keyring(public_keys) as gpg:
        if isinstance(content, bytes):
            path = Path(gpg.gnupghome, "content")
            path.write_bytes(content)
        else:
            path = content
        result = gpg.verify_file(io.BytesIO(signature), str(path))
        if not result.valid:
            raise BadSignature(_reason(result))
        fingerprint: str = result.pubkey_fingerprint
        return fingerprint


def signed_text(content: bytes, public_keys: bytes) -> bytes:
    """The text that one of ``public_keys`` clearsigned, and nothing that was put around it.

    A key that expired since will do: it was good when it signed, and its successor has to read this.
    Raises BadSignature; UnusableKey if ``public_keys`` has no key.
    """
    with _keyring(public_keys) as gpg:
        result = gpg.decrypt_file(io.BytesIO(content))
        expired_since = result.status == "signature valid" and result.key_status == "signing key has expired"
        if not result.valid and not expired_since:
            raise BadSignature(_reason(result))
        text: bytes = result.data
        return text


def _reason(result: gnupg.Verify) -> str:
    reason = result.key_status or result.status or "no signature"
    return f"{reason} (key {result.key_id})" if result.key_id else reason


def _expiry(key: dict[str, Any]) -> datetime | None:
    """When the primary key or the last of the keys that sign in its stead expires, whichever is first."""
    subkeys = [key["subkey_info"][subkey[0]] for subkey in key["subkeys"] if "s" in subkey[1]]
    signing = [_time(subkey["expires"]) for subkey in subkeys if subkey["trust"] != "r"]
    ends = [_time(key["expires"])]
    # gpg prefers a subkey that signs to the primary key.
    if signing and None not in signing:
        ends.append(max(end for end in signing if end))
    return min((end for end in ends if end), default=None)


def _time(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


@contextmanager
def _keyring(keys: bytes) -> Generator[gnupg.GPG]:
    """Gpg with these keys only, in a directory that only this user can read, and its agent."""
    with tempfile.TemporaryDirectory(prefix="hhvm-gpg-") as home:
        try:
            gpg = gnupg.GPG(gnupghome=home, options=_OPTIONS)
            # What gpg says of a broken key quotes lines of it, so that goes nowhere.
            if not gpg.import_keys(keys).fingerprints:
                raise UnusableKey("no armored key was found where one is needed")
            yield gpg
        finally:
            end_agent = ["gpgconf", "--homedir", home, "--kill", "gpg-agent"]
            subprocess.run(end_agent, check=False, capture_output=True)
