"""Signing with a key that exists only while it is used, and verifying."""

from __future__ import annotations

import io
import logging
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import gnupg

from hhvm_packaging.apt.gpg_home import temporary_home
from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

# At DEBUG python-gnupg logs the keys that it imports.
logging.getLogger("gnupg").setLevel(logging.INFO)

_OPTIONS = [
    "--digest-algo=SHA512",
    # A key that asks for a passphrase fails at once rather than waiting for somebody to type it.
    "--pinentry-mode=loopback",
]
_EXPIRED = "signing key has expired"
"""In python-gnupg's words."""

log = logging.getLogger(__name__)

EXPIRY_WARNING = timedelta(days=60)
"""How long before the key expires each use of it warns: users need time to get its successor."""


class UnusableKey(PackagingError):
    """The key cannot be read, or cannot sign. The message never holds any of it."""


class BadSignature(PackagingError):
    """The signature is absent, wrong, or made with a key that is not trusted."""


class Signer:
    """Signs with private keys that leave no trace once the ``with`` statement ends.

    With several it makes a signature by each, and one is enough for users: so one key replaces another.
    Public keys may be among the private ones: those of earlier signers. They are in ``public_key()`` too,
    so that what they signed still verifies.

    Entering raises UnusableKey if there is no private key, or if one is expired or revoked or cannot sign.
    """

    fingerprints: list[str]
    """Of the private keys: their primary keys', as elsewhere."""
    expires: datetime | None
    """When the first of them can no longer sign; None where none expires."""

    def __init__(self, keys: str | bytes) -> None:
        """``keys``: without a passphrase, one after the other; all armored or all binary."""
        self._keys = keys.encode() if isinstance(keys, str) else keys

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._gpg = stack.enter_context(_keyring(self._keys))
            self.fingerprints = [key["fingerprint"] for key in self._gpg.list_keys(secret=True)]
            if not self.fingerprints:
                raise UnusableKey("a private key is needed to sign with, and none was found")
            ends = [_check(key) for key in self._gpg.list_keys(keys=self.fingerprints)]
            self.expires = min((end for end in ends if end), default=None)
            # At the first signature gpg's agent rewrites the file of an imported key. Another signature that
            # was made at the same time would read half of it and fail.
            self.clearsign(b"")
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def fingerprint(self) -> str:
        """Of the first private key."""
        return self.fingerprints[0]

    def clearsign(self, content: bytes) -> bytes:
        """The text with its signature around it, as in InRelease. Raises UnusableKey."""
        return self._sign(io.BytesIO(content))

    def detach(self, content: bytes | Path) -> bytes:
        """The armored signature of the bytes or of the file, which is streamed. Raises UnusableKey."""
        if isinstance(content, bytes):
            return self._sign(io.BytesIO(content), detach=True)
        with content.open("rb") as file:
            return self._sign(file, detach=True)

    def signed_text(self, content: bytes) -> bytes:
        """The text that one of these keys clearsigned, and nothing that was put around it.

        A key that expired since will do: it was good when it signed, and its successor has to read this.
        Raises BadSignature.
        """
        return _signed_text(self._gpg, content)

    def _sign(self, file: io.BufferedIOBase, *, detach: bool = False) -> bytes:
        by = [f"--local-user={fingerprint}" for fingerprint in self.fingerprints]
        result = self._gpg.sign_file(file, detach=detach, extra_args=by)
        # Where one of several keys cannot sign, the others may have done so by then.
        if not result or result.returncode:
            reason = result.status or "is it protected by a passphrase?"
            raise UnusableKey(f"gpg cannot sign with {' and '.join(self.fingerprints)}: {reason}")
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
        return _signer(gpg.verify_file(io.BytesIO(signature), str(path)))


def signed_text(content: bytes, public_keys: bytes) -> bytes:
    """As Signer.signed_text, by one of ``public_keys``; raises UnusableKey if they have no key."""
    with _keyring(public_keys) as gpg:
        return _signed_text(gpg, content)


def _signed_text(gpg: gnupg.GPG, content: bytes) -> bytes:
    result = gpg.decrypt_file(io.BytesIO(content))
    _signer(result, but_for={_EXPIRED})
    text: bytes = result.data
    return text


def signed_by(content: bytes, public_keys: bytes) -> tuple[bytes, dict[str, datetime | None]]:
    """As ``signed_text``, and which of the ``public_keys`` signed it.

    Returns the text, and by the fingerprint of each such primary key when it expires.
    """
    with _keyring(public_keys) as gpg:
        result = gpg.decrypt_file(io.BytesIO(content))
        good = _good(result, but_for={_EXPIRED})
        return result.data, {
            key["fingerprint"]: _expiry(key) for key in gpg.list_keys() if key["fingerprint"] in good
        }


def _signer(result: gnupg.Verify, but_for: Collection[str] = ()) -> str:
    """The primary key of a good signature, with no problem ``but_for`` these. Raises BadSignature."""
    return _good(result, but_for)[0]


def _good(result: gnupg.Verify, but_for: Collection[str] = ()) -> list[str]:
    """The primary keys of the good signatures, with no problem ``but_for`` these.

    As with apt, one is enough if none is bad, whoever else signed. Raises BadSignature.
    """
    problems = {problem["keyid"]: problem["status"] for problem in result.problems}
    good = [
        signature
        for signature in result.sig_info.values()
        if signature.get("status") == "signature valid"
        and problems.get(signature["keyid"]) in (None, *but_for)
    ]
    if not good or any(problem["status"] == "signature bad" for problem in result.problems):
        reasons = [f"{status} (key {key_id})" for key_id, status in problems.items()]
        raise BadSignature("; ".join(reasons) or result.status or "no signature")
    return [signature["pubkey_fingerprint"] for signature in good]


def _check(key: dict[str, Any]) -> datetime | None:
    """When the key expires, with a warning where that is soon. Raises UnusableKey."""
    fingerprint, expires, now = key["fingerprint"], _expiry(key), datetime.now(UTC)
    if key["trust"] == "r":
        raise UnusableKey(f"the signing key {fingerprint} is revoked")
    if expires and expires <= now:
        raise UnusableKey(f"the signing key {fingerprint} expired on {expires:%Y-%m-%d %H:%M} UTC")
    if expires and expires - now < EXPIRY_WARNING:
        log.warning(
            "The signing key %s expires on %s, in %d days: extend it or replace it, and give users the "
            "new public key before that",
            fingerprint,
            f"{expires:%Y-%m-%d %H:%M} UTC",
            (expires - now).days,
        )
    return expires


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
    """Gpg with these keys only."""
    with temporary_home() as home:
        gpg = gnupg.GPG(gnupghome=str(home), options=_OPTIONS)
        # What gpg says of a broken key quotes lines of it, so that goes nowhere.
        if not gpg.import_keys(keys).fingerprints:
            raise UnusableKey("no gpg key was found where one is needed")
        yield gpg
